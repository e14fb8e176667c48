//! What instances write: as the running daemon tells it, else as the engine does. One that is followed goes on over a
//! restart of the daemon.

use std::fmt::Write as _;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio_util::sync::CancellationToken;

use super::running::{daemon, told};
use crate::daemon::site::Site;
use crate::daemon::watch;
use crate::decisions::log::Told;
use crate::decisions::report::Failure;
use crate::decisions::status::{InstancePhase, InstanceStatus};
use crate::doors::control_client::{ControlClient, ControlClientError, Lines};
use crate::doors::engine::EngineError;
use crate::words::name::InstanceName;
use crate::words::watch::{AskLog, LogLine};

/// How often it is looked whether a daemon is back.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// For so many looks nothing is said: a daemon that takes the place of another is there by then.
const SILENT_LOOKS: u32 = 4;
/// How long a daemon that is back may take to answer.
const LOOK_MAX: Duration = Duration::from_secs(5);

/// Lines of an instance's log as they come.
pub enum Feed {
    /// From the daemon.
    Told(Lines),
    /// From the engine.
    Read(BoxStream<'static, Result<LogLine, EngineError>>),
}

impl Feed {
    /// The next line; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<LogLine>, Failure> {
        match self {
            Self::Told(lines) => told(lines.next().await),
            Self::Read(lines) => lines.next().await.transpose().map_err(Failure::from),
        }
    }
}

/// What an instance has written, and with `follow` what it will for as long as whoever tells it lives.
pub async fn log(site: &Site, name: &InstanceName, ask: AskLog) -> Result<Feed, Failure> {
    if let Some(client) = daemon(site).await? {
        return told(client.lines(&path(name, ask)).await).map(Feed::Told);
    }
    let engine = site.observer()?;
    let lines = watch::log(engine, name.clone(), ask, CancellationToken::new()).await;
    Ok(Feed::Read(lines?))
}

fn path(name: &InstanceName, ask: AskLog) -> String {
    let mut path = format!("/v1/instances/{name}/logs?follow={}", ask.follow);
    if let Some(tail) = ask.tail {
        let _ = write!(path, "&tail={tail}");
    }
    if let Some(since) = ask.since {
        let _ = write!(path, "&since={since}");
    }
    path
}

/// What is heard of a log that is followed.
#[derive(Debug)]
pub enum Heard {
    /// A line.
    Line(LogLine),
    /// The daemon that told it is gone, and is waited for.
    Away,
    /// It is back.
    Back,
}

/// A log that is followed, whoever tells it.
pub struct Followed {
    site: Site,
    name: InstanceName,
    told: Told,
    /// None while the daemon is away.
    feed: Option<Feed>,
}

/// What a look at the daemon comes to.
enum Look {
    /// It tells on.
    Goes(Lines),
    /// There is none, or it cannot tell yet.
    Away,
    /// The instance writes no more.
    Ended,
}

/// Follows what an instance writes.
pub async fn follow_log(
    site: &Site,
    name: &InstanceName,
    ask: AskLog,
) -> Result<Followed, Failure> {
    let ask = AskLog {
        follow: true,
        ..ask
    };
    let told = Told::new(ask, jiff::Timestamp::now());
    Ok(Followed {
        site: site.clone(),
        name: name.clone(),
        told,
        feed: Some(log(site, name, ask).await?),
    })
}

impl Followed {
    /// What is heard next; `None` once the instance writes no more.
    pub async fn next(&mut self) -> Result<Option<Heard>, Failure> {
        loop {
            let Some(feed) = &mut self.feed else {
                return self.back().await;
            };
            let lines = match feed {
                Feed::Read(_) => return Ok(feed.next().await?.map(Heard::Line)),
                Feed::Told(lines) => lines,
            };
            let broke_off = match lines.next::<LogLine>().await {
                Ok(Some(line)) if self.told.is_new(line.at) => return Ok(Some(Heard::Line(line))),
                Ok(Some(_)) => continue,
                Ok(None) => false,
                Err(error @ ControlClientError::Refused(_)) => return told(Err(error)),
                Err(_) => true,
            };
            // The end of the log, or of the daemon.
            match self.look_a_while(broke_off).await? {
                Look::Goes(lines) => self.feed = Some(Feed::Told(lines)),
                Look::Ended => return Ok(None),
                Look::Away => {
                    self.feed = None;
                    return Ok(Some(Heard::Away));
                }
            }
        }
    }

    /// Waits until the daemon tells on.
    async fn back(&mut self) -> Result<Option<Heard>, Failure> {
        loop {
            match self.look(true).await? {
                Look::Goes(lines) => {
                    self.feed = Some(Feed::Told(lines));
                    return Ok(Some(Heard::Back));
                }
                Look::Ended => return Ok(None),
                Look::Away => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    async fn look_a_while(&mut self, broke_off: bool) -> Result<Look, Failure> {
        let mut is_away = broke_off;
        for _ in 0..SILENT_LOOKS {
            match self.look(is_away).await? {
                Look::Away => is_away = true,
                seen => return Ok(seen),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(Look::Away)
    }

    /// Has the daemon tell what was not told yet. Where it `was_away`, it may have to make the instance first.
    async fn look(&mut self, was_away: bool) -> Result<Look, Failure> {
        let client = match ControlClient::connect(&self.site.state).await {
            Ok(Some(client)) => client.with_patience(LOOK_MAX),
            Ok(None) => return Ok(Look::Away),
            Err(error) => return told(Err(error)),
        };
        // One that begins, or ends, cannot say.
        let Ok(all) = client.get("/v1/instances").await else {
            return Ok(Look::Away);
        };
        let all: Vec<InstanceStatus> = super::read(Ok(all))?;
        let Some(one) = all.into_iter().find(|one| one.name == self.name) else {
            return Ok(Look::Ended);
        };
        // While the daemon lives, a log ends with the last container alone.
        match (one.phase, one.generation) {
            (InstancePhase::Unknown, _) => return Ok(Look::Away),
            (_, None) if was_away => return Ok(Look::Away),
            (_, None) => return Ok(Look::Ended),
            (_, Some(_)) => {}
        }
        let lines = client.lines(&path(&self.name, self.told.again())).await;
        Ok(lines.map_or(Look::Away, Look::Goes))
    }
}
