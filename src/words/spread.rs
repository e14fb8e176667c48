//! Work spread over the processors. What comes of it does not depend on how many there are.

use std::panic::resume_unwind;
use std::thread;

/// Fewer items are not worth a thread.
const ITEMS_MIN: usize = 64;
/// More threads than this wait for memory.
const THREADS_MAX: usize = 8;

/// What `each` makes of the items, in their order.
pub fn spread<T: Sync, R: Send>(items: &[T], each: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let threads = processors.min(THREADS_MAX).min(items.len() / ITEMS_MIN);
    if threads < 2 {
        return items.iter().map(each).collect();
    }
    let each = &each;
    let of_part = |part| move || <[T]>::iter(part).map(each).collect::<Vec<R>>();
    thread::scope(|scope| {
        let parts = items.chunks(items.len().div_ceil(threads));
        let running: Vec<_> = parts.map(|part| scope.spawn(of_part(part))).collect();
        let ended = running.into_iter().map(thread::ScopedJoinHandle::join);
        ended
            .flat_map(|made| made.unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_kept() {
        for length in [0, 1, 63, 64, 127, 128, 1000, 1001] {
            let items: Vec<usize> = (0..length).collect();
            assert_eq!(
                spread(&items, |item| item + 1),
                (1..=length).collect::<Vec<_>>()
            );
        }
    }
}
