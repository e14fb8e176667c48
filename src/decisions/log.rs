//! A log that breaks off: from where on it is asked for again, and which of its lines were told by then.

use crate::words::watch::AskLog;

/// How far a log was told.
#[derive(Debug, Clone)]
pub struct Told {
    ask: AskLog,
    /// When it was asked for first.
    began: jiff::Timestamp,
    /// The newest moment of which a line was told, and how many lines of it were.
    newest: Option<(jiff::Timestamp, usize)>,
    /// How many of those will come once more.
    again: usize,
}

impl Told {
    /// Of a log that is asked for now.
    pub fn new(ask: AskLog, began: jiff::Timestamp) -> Self {
        Self {
            ask,
            began,
            newest: None,
            again: 0,
        }
    }

    /// What to ask for where it broke off: whatever was written from the newest line on. An engine tells what was
    /// written at that very moment once more.
    pub fn again(&mut self) -> AskLog {
        let since = match self.newest {
            Some((at, lines)) => {
                self.again = lines;
                Some(at)
            }
            // The newest lines of before were asked for, and there were none.
            None if self.ask.tail.is_some() => self.ask.since.max(Some(self.began)),
            None => self.ask.since,
        };
        AskLog {
            tail: None,
            since,
            ..self.ask
        }
    }

    /// Whether a line that was written then was not told yet. From now on it was. Of one that bears no time nobody
    /// knows: it is told.
    pub fn is_new(&mut self, at: Option<jiff::Timestamp>) -> bool {
        let Some(at) = at else {
            return true;
        };
        match &mut self.newest {
            Some((newest, _)) if at < *newest => {}
            Some((newest, _)) if at == *newest && self.again > 0 => {
                self.again -= 1;
                return false;
            }
            Some((newest, lines)) if at == *newest => *lines += 1,
            Some(_) | None => {
                self.newest = Some((at, 1));
                self.again = 0;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOLLOW: AskLog = AskLog {
        tail: None,
        since: None,
        follow: true,
    };

    fn at(second: i64) -> jiff::Timestamp {
        jiff::Timestamp::from_second(second).unwrap()
    }

    /// Which of these are told, by the seconds at which they were written.
    fn news(told: &mut Told, seconds: &[i64]) -> Vec<i64> {
        let new = seconds.iter().filter(|s| told.is_new(Some(at(**s))));
        new.copied().collect()
    }

    #[test]
    fn no_line_is_told_twice_and_none_is_left_out() {
        let mut told = Told::new(FOLLOW, at(0));
        // Lines of one moment, as the pieces of a long one are, are lines all the same.
        assert_eq!(news(&mut told, &[1, 2, 2, 3, 3]), [1, 2, 2, 3, 3]);
        let ask = told.again();
        assert_eq!(
            ask,
            AskLog {
                since: Some(at(3)),
                ..FOLLOW
            }
        );
        assert_eq!(news(&mut told, &[3, 3, 3, 4, 4]), [3, 4, 4]);
        assert_eq!(told.again().since, Some(at(4)));
        assert_eq!(news(&mut told, &[4, 4, 5]), [5]);
        // It broke off before what was told came once more.
        told.again();
        told.again();
        assert_eq!(news(&mut told, &[5, 5]), [5]);
    }

    #[test]
    fn two_streams_may_be_out_of_order() {
        let mut told = Told::new(FOLLOW, at(0));
        assert_eq!(news(&mut told, &[2, 1, 2]), [2, 1, 2]);
        assert_eq!(told.again().since, Some(at(2)));
        assert_eq!(news(&mut told, &[2, 2]), Vec::<i64>::new());
    }

    #[test]
    fn what_was_never_told_is_asked_for_as_it_was() {
        let since = Some(at(5));
        let asked = |tail, since, began| {
            let ask = AskLog {
                tail,
                since,
                ..FOLLOW
            };
            let again = Told::new(ask, began).again();
            assert_eq!((again.tail, again.follow), (None, true));
            again.since
        };
        assert_eq!(asked(None, None, at(9)), None);
        assert_eq!(asked(None, since, at(9)), since);
        // What was there before was not wanted.
        assert_eq!(asked(Some(0), since, at(9)), Some(at(9)));
        assert_eq!(asked(Some(0), since, at(1)), since);
    }

    #[test]
    fn what_bears_no_time_is_told() {
        let mut told = Told::new(FOLLOW, at(0));
        assert!(told.is_new(None));
        assert_eq!(told.again().since, None);
    }
}
