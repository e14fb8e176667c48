//! What a configuration may not say of who is told.

use crate::doors::post::Target;
use crate::words::bounds;
use crate::words::config::Notify;
use crate::words::diagnostic::Problem;

/// So many are told at most.
const RECEIVERS_MAX: usize = 8;

/// Everything that is wrong with it.
pub(super) fn problems(notify: &Notify, problems: &mut Vec<Problem>) {
    problems.extend(bounds::NOTIFY_AFTER.check(
        &["notify", "after"],
        notify.after,
        "5m is the default",
    ));
    problems.extend(bounds::NOTIFY_REMIND.check(
        &["notify", "remind"],
        notify.remind,
        "1d is the default",
    ));
    if notify.webhooks.len() > RECEIVERS_MAX {
        let message = format!(
            "{} receivers, and {RECEIVERS_MAX} are the most",
            notify.webhooks.len()
        );
        problems.push(
            Problem::error(&["notify", "webhooks"], message)
                .with_help("have one of them pass it on"),
        );
    }
    for (n, receiver) in notify.webhooks.iter().enumerate() {
        let n = n.to_string();
        let at = |key| ["notify", "webhooks", &n, key];
        match Target::parse(&receiver.url) {
            Err(why) => {
                let message = format!("`{}` {why}", receiver.url);
                problems.push(
                    Problem::error(&at("url"), message)
                        .with_help("such as https://hooks.example.com/instanced"),
                );
            }
            Ok(target) if target.is_secure() => {}
            Ok(_) => {
                if receiver.ca_file.is_some() {
                    problems.push(
                        Problem::error(&at("ca_file"), "plain HTTP proves nothing")
                            .with_help("leave it out, or write https:// in the address"),
                    );
                }
            }
        }
        let twice = notify
            .webhooks
            .iter()
            .position(|other| other.url == receiver.url);
        if twice.is_some_and(|first| first.to_string() != n) {
            problems.push(
                Problem::error(&at("url"), "is named twice").with_help("leave one of them out"),
            );
        }
    }
}
