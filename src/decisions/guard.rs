//! How far removals may go without a person's word.

use crate::words::config::Prune;
use crate::words::name::InstanceName;
use crate::words::quantity::Span;

/// Over which time removals count.
pub const WINDOW: Span = Span::secs(600);

/// Orphans that would go, and what there is.
pub struct Ask<'a> {
    /// The orphans, sorted, none of them protected or just vanished.
    pub orphans: &'a [InstanceName],
    /// How many instances of ours there are now, orphans included.
    pub fleet: usize,
    /// How many were removed within [`WINDOW`].
    pub removed_lately: usize,
    /// Whether the source names no instance at all.
    pub source_is_empty: bool,
    /// The revision that is desired.
    pub revision: &'a str,
    /// The id that a person has confirmed.
    pub confirmed: Option<&'a str>,
}

/// What the guard says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PruneVerdict {
    /// They go.
    Go,
    /// Pruning is off.
    Disabled,
    /// None of them goes until a person confirms this id.
    Blocked {
        /// Names exactly these removals at this revision.
        id: String,
        /// How many would be gone, those of the last ten minutes included.
        removals: usize,
        /// Of how many, those of the last ten minutes included.
        fleet: usize,
    },
}

/// Decides over all removals of a plan together: either all go or none.
///
/// Within [`WINDOW`], `min` or `max` of the fleet may go, whichever is more, and a single one always. An emptied
/// source removes nothing, be it of a fleet of one: a directory that was moved away or is not yet mounted looks so.
pub fn prune(ask: &Ask<'_>, policy: &Prune) -> PruneVerdict {
    if !policy.enabled {
        return PruneVerdict::Disabled;
    }
    let id = prune_id(ask.orphans, ask.revision);
    if ask.confirmed == Some(id.as_str()) || ask.orphans.is_empty() {
        return PruneVerdict::Go;
    }
    // What went lately was part of the fleet: a slow `rm` must not shrink what it is measured against.
    let going = ask.orphans.len() + ask.removed_lately;
    let fleet = ask.fleet + ask.removed_lately;
    let share = policy.max.of(u64::try_from(fleet).unwrap_or(u64::MAX));
    let allowed = share.max(policy.min);
    let many = going > 1 && u64::try_from(going).unwrap_or(u64::MAX) > allowed;
    if ask.source_is_empty || many {
        PruneVerdict::Blocked {
            id,
            removals: going,
            fleet,
        }
    } else {
        PruneVerdict::Go
    }
}

/// Names exactly these removals at this revision, in 12 hexadecimal digits.
pub fn prune_id(orphans: &[InstanceName], revision: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(revision.as_bytes());
    for orphan in orphans {
        hasher.update(b"\0").update(orphan.as_str().as_bytes());
    }
    hasher.finalize().to_hex()[..12].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<InstanceName> {
        (0..count)
            .map(|n| format!("i{n}").parse().unwrap())
            .collect()
    }

    fn ask(orphans: &[InstanceName], fleet: usize) -> Ask<'_> {
        Ask {
            orphans,
            fleet,
            removed_lately: 0,
            source_is_empty: false,
            revision: "r1",
            confirmed: None,
        }
    }

    fn blocked(ask: &Ask<'_>) -> bool {
        matches!(prune(ask, &Prune::default()), PruneVerdict::Blocked { .. })
    }

    #[test]
    fn a_single_removal_is_always_allowed() {
        assert!(!blocked(&ask(&names(1), 1)));
        assert!(!blocked(&ask(&names(1), 3)));
    }

    #[test]
    fn more_than_the_least_goes_only_within_the_share() {
        for fleet in [3, 5, 15] {
            assert!(!blocked(&ask(&names(3), fleet)), "{fleet}");
            assert!(blocked(&ask(&names(4), fleet)), "{fleet}");
        }
        assert!(!blocked(&ask(&names(4), 20)));
        assert!(blocked(&ask(&names(4), 19)));
        let none = Prune {
            min: 0,
            ..Prune::default()
        };
        assert_eq!(prune(&ask(&names(1), 5), &none), PruneVerdict::Go);
        assert_ne!(prune(&ask(&names(2), 5), &none), PruneVerdict::Go);
    }

    #[test]
    fn an_emptied_source_removes_nothing_not_even_one() {
        let orphans = names(1);
        assert!(blocked(&Ask {
            source_is_empty: true,
            ..ask(&orphans, 1)
        }));
    }

    #[test]
    fn a_slow_rm_is_counted_over_the_window() {
        let orphans = names(1);
        assert!(!blocked(&Ask {
            removed_lately: 2,
            ..ask(&orphans, 3)
        }));
        assert!(!blocked(&Ask {
            removed_lately: 3,
            ..ask(&orphans, 17)
        }));
        assert!(blocked(&Ask {
            removed_lately: 3,
            ..ask(&orphans, 16)
        }));
    }

    #[test]
    fn a_confirmation_names_exactly_these_removals_at_this_revision() {
        let orphans = names(5);
        let id = prune_id(&orphans, "r1");
        let confirmed = Ask {
            confirmed: Some(&id),
            ..ask(&orphans, 5)
        };
        assert_eq!(prune(&confirmed, &Prune::default()), PruneVerdict::Go);
        assert!(blocked(&Ask {
            revision: "r2",
            ..confirmed
        }));
        let others = names(4);
        assert!(blocked(&Ask {
            confirmed: Some(&id),
            ..ask(&others, 5)
        }));
    }

    #[test]
    fn pruning_can_be_off() {
        let off = Prune {
            enabled: false,
            ..Prune::default()
        };
        assert_eq!(prune(&ask(&names(1), 9), &off), PruneVerdict::Disabled);
    }
}
