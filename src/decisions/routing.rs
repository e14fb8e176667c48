//! Where the routes of an instance lead when files carry them. Pure: what stands in, what shall stand out.

use std::net::IpAddr;

use super::change;
use crate::words::observed::{Applied, Generation, Health, Phase};
use crate::words::route::Provider;
use crate::words::spec::Spec;

/// Where a file leads now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// To this generation.
    pub generation: u64,
    /// Where it was when the file was written.
    pub address: IpAddr,
}

/// What becomes of an instance's file.
#[derive(Debug, Clone, PartialEq)]
pub enum Routing<'a> {
    /// It stays as it is; so does no file.
    Kept,
    /// It says this. Nothing is written where it says so already.
    Said(Lead<'a>),
    /// It says this as soon as that generation answers.
    Due {
        /// What it will say.
        lead: Lead<'a>,
        /// Whether what stands goes until then: its address may be another's.
        gone_meanwhile: bool,
    },
    /// It goes.
    Gone,
}

/// A file's content.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lead<'a> {
    /// By these endpoints and this edge.
    pub spec: &'a Spec,
    /// To this generation.
    pub generation: u64,
    /// Which is there.
    pub address: IpAddr,
}

/// What becomes of the file of an instance.
///
/// The newest generation that runs is led to: at once where the file names it already, for then only its settings
/// changed; else once it answers. An older one that still serves is led to until then.
pub fn route<'a>(
    desired: Option<&'a Spec>,
    generations: &'a [Generation],
    stands: Option<Standing>,
) -> Routing<'a> {
    let running = |g: &&Generation| g.phase == Phase::Running && g.address.is_some();
    let Some(newest) = generations.iter().rev().find(running) else {
        return Routing::Gone;
    };
    let (Applied::Spec(record), Some(address)) = (&newest.applied, newest.address) else {
        // What it serves is not known: made by a newer version, say, which wrote the file.
        return Routing::Kept;
    };
    let spec = change::in_effect(record, desired);
    if spec.edge.provider != Provider::File || spec.endpoints.is_empty() {
        return Routing::Gone;
    }
    let lead = Lead {
        spec,
        generation: newest.number,
        address,
    };
    let led_to = |g: &Generation, stands: Standing| {
        g.number == stands.generation && g.address == Some(stands.address)
    };
    match stands {
        Some(stands) if led_to(newest, stands) => {
            if std::ptr::eq(spec, record.as_ref()) {
                // Written when more was known than its record tells: its manifest is broken just now.
                Routing::Kept
            } else {
                Routing::Said(lead)
            }
        }
        stands => {
            let other_serves = stands.is_some_and(|stands| {
                generations
                    .iter()
                    .any(|g| g.phase == Phase::Running && led_to(g, stands))
            });
            let well = !matches!(newest.health, Some(Health::Starting | Health::Unhealthy));
            if other_serves && !well {
                return Routing::Kept;
            }
            Routing::Due {
                lead,
                gone_meanwhile: stands.is_some() && !other_serves,
            }
        }
    }
}

#[cfg(test)]
mod tests;
