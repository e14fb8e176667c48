use super::*;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn path() -> &'static Path {
    Path::new("instances.d/alice.yaml")
}

/// A state that has seen these events, each at its millisecond.
fn after(events: &[(u64, FileEvent)]) -> Settling {
    let mut settling = Settling::default();
    for (at, event) in events {
        settling.on_event(*event, path(), ms(*at));
    }
    settling
}

use FileEvent::{Altered, Gone, Writing, Written};

#[test]
fn nothing_is_due_while_nothing_happens() {
    let mut settling = Settling::default();
    assert_eq!(settling.due(ms(5_000)), None);
    assert!(!settling.take(ms(5_000)));
}

#[test]
fn a_closed_file_is_due_after_a_short_wait_for_its_neighbours() {
    let mut settling = after(&[(100, Writing), (110, Written)]);
    assert_eq!(settling.due(ms(110)), Some(ms(25)));
    assert!(!settling.take(ms(134)));
    assert!(settling.take(ms(135)));
    assert_eq!(
        settling.due(ms(135)),
        None,
        "a round that was taken is not due again"
    );
}

#[test]
fn a_stream_of_closes_is_not_waited_out() {
    let mut settling = Settling::default();
    for at in (0..150).step_by(20) {
        settling.on_event(Written, path(), ms(at));
        assert!(!settling.take(ms(at)));
    }
    assert_eq!(settling.due(ms(140)), Some(ms(10)));
    assert!(settling.take(ms(150)));
}

#[test]
fn an_open_file_is_unsettled_until_it_is_closed() {
    let mut settling = after(&[(0, Writing), (1_900, Writing), (3_700, Writing)]);
    assert!(settling.unsettled(ms(3_800)).contains(path()));
    assert!(
        !settling.take(ms(3_800)),
        "a writer at work calls for no round"
    );
    settling.on_event(Written, path(), ms(3_800));
    assert!(settling.unsettled(ms(3_800)).is_empty());
    assert!(settling.take(ms(3_825)));
}

#[test]
fn an_open_file_settles_after_quiet_and_a_round_is_due_then() {
    let mut settling = after(&[(0, Writing), (500, Writing)]);
    assert_eq!(settling.due(ms(500)), Some(QUIET));
    assert!(settling.unsettled(ms(2_499)).contains(path()));
    assert!(!settling.take(ms(2_499)));
    assert!(settling.unsettled(ms(2_500)).is_empty());
    assert!(settling.take(ms(2_500)));
    assert_eq!(settling.due(ms(2_500)), None);
}

#[test]
fn a_file_renamed_over_an_open_one_or_deleted_settles_it() {
    for event in [Written, Gone] {
        let settling = after(&[(0, Writing), (10, event)]);
        assert!(settling.unsettled(ms(10)).is_empty(), "{event:?}");
        assert_eq!(settling.due(ms(10)), Some(ms(25)), "{event:?}");
    }
}

#[test]
fn a_mode_change_is_a_change_but_does_not_complete_an_open_file() {
    let closed = after(&[(0, Altered)]);
    assert_eq!(closed.due(ms(0)), Some(ms(25)));
    let open = after(&[(0, Writing), (10, Altered)]);
    assert!(open.unsettled(ms(10)).contains(path()));
    assert_eq!(
        open.due(ms(10)),
        Some(ms(1_990)),
        "nor does it prolong the wait for quiet"
    );
}

#[test]
fn one_files_writer_does_not_delay_anothers_round() {
    let mut settling = after(&[(0, Writing)]);
    settling.on_event(Written, Path::new("instances.d/bob.yaml"), ms(10));
    assert!(settling.take(ms(35)));
    assert!(settling.unsettled(ms(35)).contains(path()));
    assert_eq!(settling.due(ms(35)), Some(ms(1_965)));
}

#[test]
fn waits_double_from_a_second_to_five_minutes() {
    let waits: Vec<u64> = (0..12)
        .map(|n| Backoff::USUAL.next(n, 0.5).as_secs())
        .collect();
    assert_eq!(waits, [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    assert_eq!(Backoff::USUAL.next(u32::MAX, 0.5), Backoff::USUAL.longest);
}

#[test]
fn waits_are_spread_by_a_quarter_to_either_side() {
    assert_eq!(Backoff::USUAL.next(3, 0.0), ms(3_000));
    assert_eq!(Backoff::USUAL.next(3, 1.0), ms(5_000));
    assert_eq!(Backoff::USUAL.next(3, 7.0), ms(5_000));
    assert_eq!(Backoff::USUAL.next(0, 1.0), Duration::ZERO);
}

#[test]
fn a_registry_that_asks_to_wait_is_asked_seldom() {
    let waits: Vec<u64> = (0..8)
        .map(|n| Backoff::RATE_LIMITED.next(n, 0.5).as_secs())
        .collect();
    assert_eq!(waits, [0, 60, 120, 240, 480, 960, 1_800, 1_800]);
}
