//! What a configuration may not say of its source.

use std::path::{Component, Path};

use crate::words::bounds;
use crate::words::config::{GitSource, Source};
use crate::words::diagnostic::Problem;

/// Everything that is wrong with it.
pub(super) fn problems(source: &Source, problems: &mut Vec<Problem>) {
    let Some(git) = &source.git else { return };
    if source.dir != Path::new(Source::DIR) {
        problems.push(
            Problem::error(&["source", "dir"], "`dir` and `git` are two sources").with_help(
                "keep one; where the manifests are in the repository, source.git.path says",
            ),
        );
    }
    let of = |key, message: &str| Problem::error(&["source", "git", key], message);
    if git.url.is_empty() || git.url.starts_with('-') {
        let problem = of("url", &format!("`{}` is no address", git.url));
        problems.push(problem.with_help("such as https://git.example.com/team/fleet.git"));
    }
    let credentials = git.url.strip_prefix("ssh://").and_then(|rest| {
        let host_ends = rest.find('/').unwrap_or(rest.len());
        rest[..host_ends].rsplit_once('@')
    });
    if credentials.is_some_and(|(user, _)| user.contains(':')) {
        // Not at the key itself: an excerpt would show the password.
        let message = "`url` has a password, and ssh takes none from an address";
        let problem = Problem::error(&["source", "git"], message);
        problems.push(problem.with_help("remove it, and use a key of the daemon's user"));
    }
    following(git, problems);
    let names = Path::new(&git.path).components();
    if git.path.is_empty()
        || !names
            .clone()
            .all(|part| matches!(part, Component::Normal(_)))
    {
        let problem = of(
            "path",
            &format!("`{}` is no directory within the repository", git.path),
        );
        problems.push(problem.with_help("such as instances.d, or hosts/berlin/instances.d"));
    }
    problems.extend(bounds::GIT_INTERVAL.check(
        &["source", "git", "interval"],
        git.interval,
        "60s is the default; a webhook has it asked at once",
    ));
}

fn following(git: &GitSource, problems: &mut Vec<Problem>) {
    let named = [
        ("branch", &git.branch),
        ("tag", &git.tag),
        ("commit", &git.commit),
    ];
    let named: Vec<_> = named
        .into_iter()
        .filter_map(|(key, name)| name.as_ref().map(|name| (key, name)))
        .collect();
    for (key, _) in named.iter().skip(1) {
        let message = format!("`{}` and `{key}` are both named", named[0].0);
        problems.push(
            Problem::error(&["source", "git", key], message)
                .with_help("keep the one that shall be followed"),
        );
    }
    for (key, name) in named {
        let at = ["source", "git", key];
        if key == "commit" {
            let whole = matches!(name.len(), 40 | 64);
            if !whole || !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                problems.push(
                    Problem::error(&at, format!("`{name}` is no whole commit id"))
                        .with_help("40 hexadecimal digits: git rev-parse NAME tells them"),
                );
            }
        } else if !is_ref_name(name) {
            problems.push(
                Problem::error(&at, format!("`{name}` is no name of a {key}"))
                    .with_help("without refs/heads/ or refs/tags/, such as main or v1.2"),
            );
        }
    }
}

/// What `git check-ref-format` takes, and no pattern.
fn is_ref_name(name: &str) -> bool {
    let bad = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    let part_is_fine = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && !Path::new(part)
                .extension()
                .is_some_and(|end| end.eq_ignore_ascii_case("lock"))
    };
    !name.starts_with('-')
        && !name.starts_with("refs/")
        && !name.ends_with('.')
        && !name.contains("..")
        && !name.contains("@{")
        && name != "@"
        && !name.contains(bad)
        && name.split('/').all(part_is_fine)
}
