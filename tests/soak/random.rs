//! Randomness that can be replayed.

/// How much is done: the short form is for every change, the long one for a release.
pub fn is_long() -> bool {
    std::env::var("INSTANCED_SOAK").is_ok_and(|form| form == "long")
}

/// The long form's figure, or the short one's.
pub fn long_or_short<T>(long: T, short: T) -> T {
    if is_long() { long } else { short }
}

/// Numbers that follow from a seed (`SplitMix64`).
pub struct Random(u64);

impl Random {
    /// The sequence of a seed.
    pub fn of(seed: u64) -> Self {
        Self(seed)
    }

    /// The seed that `INSTANCED_SOAK_SEED` names, else one of this moment.
    pub fn seed() -> u64 {
        if let Ok(said) = std::env::var("INSTANCED_SOAK_SEED") {
            return said.parse().expect("INSTANCED_SOAK_SEED is a number");
        }
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        u64::from(now.expect("after 1970").subsec_nanos())
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    /// True in `percent` of a hundred cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of these; `None` where there is none.
    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        let count = u64::try_from(all.len()).expect("a few");
        (count > 0).then(|| &all[usize::try_from(self.below(count)).expect("a few")])
    }
}
