//! A checkup: what was seen of a host, and what that means. [`facts`] are what the doors bring; each verdict here is a
//! function of them alone.

use serde::Serialize;

use super::report::Failure;

pub mod confinement;
pub mod edge;
pub mod facts;
pub mod host;
pub mod instances;

/// What is looked at, in the order that it is told in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Area {
    /// `instanced.yaml`.
    Configuration,
    /// Where manifests come from.
    Source,
    /// The container engine.
    Engine,
    /// The network that instances stand on.
    Network,
    /// The daemon of this state directory.
    Daemon,
    /// The instances themselves.
    Instances,
    /// The store.
    Store,
    /// Who may read and write what.
    Permissions,
    /// Room for the state.
    Disk,
    /// The addresses that the daemon listens on.
    Ports,
    /// The `ForwardAuth` listener, as Traefik reaches it.
    Auth,
    /// What Traefik serves.
    Traefik,
    /// The time.
    Clock,
    /// The names that clients look up.
    Domain,
    /// What is allowed on purpose, and somebody may have forgotten.
    Policy,
}

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// As it should be.
    Ok,
    /// As it may be; it is worth knowing.
    Note,
    /// It works, and somebody should look.
    Warning,
    /// It does not work.
    Problem,
}

/// What was found about one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: Area,
    /// How it is.
    pub grade: Grade,
    /// What was found.
    pub found: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Area {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Source => "source",
            Self::Engine => "engine",
            Self::Network => "network",
            Self::Daemon => "daemon",
            Self::Instances => "instances",
            Self::Store => "store",
            Self::Permissions => "permissions",
            Self::Disk => "disk",
            Self::Ports => "ports",
            Self::Auth => "auth",
            Self::Traefik => "traefik",
            Self::Clock => "clock",
            Self::Domain => "domain",
            Self::Policy => "policy",
        }
    }

    fn finding(self, grade: Grade, found: impl Into<String>, help: Option<String>) -> Finding {
        Finding {
            check: self,
            grade,
            found: found.into(),
            help,
        }
    }

    /// That it is as it should be.
    pub fn ok(self, found: impl Into<String>) -> Finding {
        self.finding(Grade::Ok, found, None)
    }

    /// Something worth knowing.
    pub fn note(self, found: impl Into<String>, help: impl Into<String>) -> Finding {
        self.finding(Grade::Note, found, Some(help.into()))
    }

    /// Something that somebody should look at.
    pub fn warning(self, found: impl Into<String>, help: impl Into<String>) -> Finding {
        self.finding(Grade::Warning, found, Some(help.into()))
    }

    /// Something that does not work.
    pub fn problem(self, found: impl Into<String>, help: impl Into<String>) -> Finding {
        self.finding(Grade::Problem, found, Some(help.into()))
    }

    /// That it failed, as a problem.
    pub fn failed(self, failure: &Failure) -> Finding {
        self.finding(
            Grade::Problem,
            failure.message.clone(),
            failure.help.clone(),
        )
    }

    /// That it could not be looked at in time.
    pub fn silent(self, secs: u64) -> Finding {
        let help = "something that is asked for it hangs; the checks beside this one tell more";
        self.warning(format!("not known: nothing was seen within {secs} s"), help)
    }
}

/// What does not work makes the whole a failure; nothing else does.
pub fn has_problem(findings: &[Finding]) -> bool {
    findings
        .iter()
        .any(|finding| finding.grade == Grade::Problem)
}

/// `1 manifest`, `2 manifests`.
fn count(number: usize, one: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {one}{s}")
}

#[cfg(test)]
mod tests;
