//! A repository's own configuration, compared with a closed list before git acts on it.
//!
//! Git cannot be made to ignore it, and many of its keys name programs. No key on this list names a program, or
//! another file of configuration. Those that concern a server stay without effect: a call that reads has no transport.

use std::fs;

use super::command::Git;
use super::place::Place;
use super::{GitError, is_there, printable, text};

/// Sections of which every key is harmless.
const SECTIONS: [&str; 10] = [
    "advice",
    "author",
    "branch",
    "color",
    "committer",
    "pull",
    "push",
    "rebase",
    "rerere",
    "user",
];

/// Keys that are harmless, without the name between section and key.
const KEYS: &[&str] = &[
    "commit.gpgsign",
    "core.abbrev",
    "core.autocrlf",
    "core.bare",
    "core.bigfilethreshold",
    "core.checkstat",
    "core.commitgraph",
    "core.compression",
    "core.eol",
    "core.filemode",
    "core.fsync",
    "core.ignorecase",
    "core.logallrefupdates",
    "core.longpaths",
    "core.multipackindex",
    "core.precomposeunicode",
    "core.preloadindex",
    "core.protecthfs",
    "core.protectntfs",
    "core.quotepath",
    "core.repositoryformatversion",
    "core.safecrlf",
    "core.sharedrepository",
    "core.sparsecheckout",
    "core.sparsecheckoutcone",
    "core.splitindex",
    "core.symlinks",
    "core.trustctime",
    "core.untrackedcache",
    "core.whitespace",
    // Overridden: every call names its working tree.
    "core.worktree",
    "credential.interactive",
    "credential.username",
    "extensions.compatobjectformat",
    "extensions.objectformat",
    "extensions.preciousobjects",
    "extensions.refstorage",
    "extensions.relativeworktrees",
    "extensions.worktreeconfig",
    "feature.experimental",
    "feature.manyfiles",
    "fetch.parallel",
    "fetch.prune",
    "fetch.prunetags",
    "fetch.recursesubmodules",
    "fetch.writecommitgraph",
    "gc.auto",
    "gc.autodetach",
    "gc.autopacklimit",
    "gui.geometry",
    "gui.wmstate",
    "http.extraheader",
    "http.postbuffer",
    "http.sslcainfo",
    "http.sslverify",
    "init.defaultbranch",
    "index.skiphash",
    "index.threads",
    "index.version",
    "lfs.access",
    "lfs.locksverify",
    "lfs.repositoryformatversion",
    "maintenance.auto",
    "maintenance.strategy",
    "merge.conflictstyle",
    "merge.ff",
    "pack.threads",
    "pack.usesparse",
    "remote.fetch",
    "remote.gh-resolved",
    "remote.mirror",
    "remote.prune",
    "remote.prunetags",
    "remote.push",
    "remote.pushurl",
    "remote.skipdefaultupdate",
    "remote.skipfetchall",
    "remote.tagopt",
    "remote.url",
    "remotes.default",
    // Git reads it from the user's and the system's configuration alone.
    "safe.directory",
    "status.submodulesummary",
    "submodule.active",
    "submodule.branch",
    "submodule.fetchrecursesubmodules",
    "submodule.ignore",
    "submodule.recurse",
    "submodule.shallow",
    "submodule.url",
    "tag.gpgsign",
    "tag.sort",
];

/// Whether every key of a repository's configuration is on the list.
///
/// # Errors
/// [`GitError::Refused`] names the first that is not.
pub(super) fn check(place: &Place) -> Result<(), GitError> {
    for file in [
        place.common.join("config"),
        place.dir.join("config.worktree"),
    ] {
        if !is_there(&file) {
            continue;
        }
        let refused = |why: String, help: String| GitError::Refused {
            file: file.clone(),
            why,
            help,
        };
        let is_file = fs::metadata(&file).is_ok_and(|found| found.is_file());
        let shown = file.to_string_lossy();
        let list = ["config", "--file", &shown, "--no-includes", "--list"];
        let names = [&list[..], &["--name-only", "-z"]].concat();
        let listed = if is_file {
            Git::nowhere().run(&names)?
        } else {
            Err("it is no file".to_owned())
        };
        let listed = listed.map_err(|why| {
            let help = "repair the file: `git config --list` there says more".to_owned();
            refused(format!("its keys cannot be listed: {why}"), help)
        })?;
        let listed = text(&listed);
        let bad = listed.split_terminator('\0').find(|key| !is_harmless(key));
        if let Some(key) = bad {
            let key = printable(key);
            return Err(refused(
                format!("`{key}` can make git run a program, or read outside the repository"),
                help(&key, &shown),
            ));
        }
    }
    Ok(())
}

fn help(key: &str, file: &str) -> String {
    if key.starts_with("include.") || key.starts_with("includeif.") {
        return "take the include out of this file; a CI service that adds it for credentials has a setting against it (actions/checkout: `persist-credentials: false`)".to_owned();
    }
    let of_partial_clone = [".promisor", ".partialclonefilter", ".partialclone"];
    if of_partial_clone.iter().any(|end| key.ends_with(end)) {
        return "this is a partial clone: clone the repository whole, without --filter".to_owned();
    }
    format!(
        "remove it (git config --file {file} --unset-all '{key}'), or set it for the user in place of the repository (git config --global)"
    )
}

/// Git tells section and key in small letters, and what is between them as it is written.
fn is_harmless(key: &str) -> bool {
    let Some((section, rest)) = key.split_once('.') else {
        return false;
    };
    let name = rest.rsplit_once('.').map_or(rest, |(_, name)| name);
    SECTIONS.contains(&section) || KEYS.contains(&format!("{section}.{name}").as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_a_program_or_another_file_is_not_on_the_list() {
        for key in [
            "alias.log",
            "core.alternaterefscommand",
            "core.askpass",
            "core.attributesfile",
            "core.editor",
            "core.excludesfile",
            "core.fsmonitor",
            "core.gitproxy",
            "core.hookspath",
            "core.pager",
            "core.sshcommand",
            "credential.helper",
            "credential.https://a.example.com.helper",
            "diff.external",
            "diff.x.command",
            "diff.x.textconv",
            "extensions.partialclone",
            "fetch.bundleuri",
            "filter.lfs.clean",
            "filter.lfs.process",
            "filter.lfs.smudge",
            "gc.recentobjectshook",
            "gpg.program",
            "gpg.ssh.defaultkeycommand",
            "gpg.ssh.program",
            "http.proxy",
            "include.path",
            "includeif.gitdir:/srv.path",
            "interactive.difffilter",
            "mailmap.file",
            "merge.x.driver",
            "pager.log",
            "protocol.ext.allow",
            "remote.origin.partialclonefilter",
            "remote.origin.promisor",
            "remote.origin.receivepack",
            "remote.origin.uploadpack",
            "remote.origin.vcs",
            "sequence.editor",
            "submodule.x.update",
            "trace2.eventtarget",
            "uploadpack.packobjectshook",
            "url.ext::sh.insteadof",
            "nonsense",
            "",
        ] {
            assert!(!is_harmless(key), "{key}");
        }
    }

    #[test]
    fn a_usual_clone_is_harmless() {
        for key in [
            "core.repositoryformatversion",
            "core.worktree",
            "remote.origin.url",
            "remote.a.b.fetch",
            "branch.feature/x.y.vscode-merge-base",
            "user.email",
            "extensions.worktreeconfig",
            "http.https://github.com/.extraheader",
            "submodule.lib.url",
        ] {
            assert!(is_harmless(key), "{key}");
        }
    }
}
