//! The workflows of `examples/ci` do what they say: their commands are taken out of them and run, by the shell that the
//! service uses and with the variables that it sets, on a repository with a pull request. Stand-ins are there only for
//! what needs the network: the build of instanced, and the sending of the comment.

#[path = "ci_examples/lab.rs"]
mod lab;
mod support;

use std::collections::BTreeMap;
use std::path::Path;

use lab::{Lab, Said};
use serde_json::Value;

const SOUND: [(&str, &str); 2] = [
    ("instances.d/alice.yaml", "image: acme/x:2\n"),
    ("instances.d/carol.yaml", "owner: me@example.com\n"),
];
const BROKEN: [(&str, &str); 2] = [
    (
        "instances.d/alice.yaml",
        "owner: me@example.com\ncolour: red\n",
    ),
    // A pull request cannot loosen the rules that it is judged by.
    (
        "ci/instanced.yaml",
        "policy: { images: { allow: [\"*\"] } }\n",
    ),
];
const LOOSENING: [(&str, &str); 2] = [
    ("instances.d/alice.yaml", "image: evil/x:1\n"),
    (
        "ci/instanced.yaml",
        "policy: { images: { allow: [\"*\"] } }\n",
    ),
];

fn example(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples/ci")
        .join(name);
    let text = std::fs::read_to_string(path).expect("an example");
    serde_yaml::from_str(&text).expect("YAML")
}

fn text(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("text, not {value}"))
}

/// What GitHub puts in place of an expression.
fn filled(text: &str, env: &BTreeMap<String, String>) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${{") {
        let (expression, after) = after.split_once("}}").expect("an expression ends");
        filled += before;
        filled += match expression.trim() {
            "github.token" => "t0ken",
            "github.event.pull_request.number" => "7",
            name => {
                &env[name
                    .strip_prefix("env.")
                    .unwrap_or_else(|| panic!("nobody fills in {name}"))]
            }
        };
        rest = after;
    }
    filled + rest
}

fn variables(of: &Value, known: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let pairs = of.as_object().into_iter().flatten();
    pairs
        .map(|(key, value)| (key.clone(), filled(text(value), known)))
        .collect()
}

/// Runs the workflow as GitHub's runner does. Returns the step that failed, if one did, and what all of them said.
fn github(lab: &Lab, own_repository: bool) -> (Option<String>, String) {
    let workflow = example("github-actions.yml");
    assert_eq!(workflow["defaults"]["run"]["shell"], "bash");
    let env = variables(&workflow["env"], &BTreeMap::new());
    // What is checked out is the pull request as it would be merged now.
    let work = lab.path("work");
    lab.git(&work, &["checkout", "--quiet", "--detach", "origin/main"]);
    lab.git(
        &work,
        &["merge", "--quiet", "--no-ff", "--no-edit", "origin/change"],
    );
    let mut all = String::new();
    for step in workflow["jobs"]["review"]["steps"]
        .as_array()
        .expect("steps")
    {
        let condition = step
            .get("if")
            .is_none_or(|condition| match text(condition) {
                "github.event.pull_request.head.repo.full_name == github.repository" => {
                    own_repository
                }
                other => panic!("nobody knows whether {other}"),
            });
        let Some(run) = step.get("run").filter(|_| condition) else {
            continue;
        };
        // What others chose, such as a branch's name, must not become part of a script.
        assert!(!text(run).contains("${{"), "{run}");
        let script = lab.path("temp/script.sh");
        std::fs::write(&script, text(run)).expect("a file");
        let mut command = lab.command("bash");
        command
            .args(["--noprofile", "--norc", "-eo", "pipefail"])
            .arg(&script)
            .envs(&env)
            .envs(variables(&step["env"], &env))
            .env("CI", "true")
            .env("GITHUB_ACTIONS", "true")
            .env("GITHUB_BASE_REF", "main")
            .env("GITHUB_WORKSPACE", lab.path("work"))
            .env("GITHUB_STEP_SUMMARY", lab.path("summary.md"))
            .env("RUNNER_TEMP", lab.path("temp"));
        let said = Lab::run(&mut command);
        all += &said.all;
        if said.code != Some(0) {
            return (Some(text(&step["name"]).to_owned()), all);
        }
    }
    (None, all)
}

/// Runs the job as GitLab's runner does: line by line in one bash, each told before it runs.
fn gitlab(lab: &Lab, more: &[(&str, &str)]) -> Said {
    let pipeline = example("gitlab-ci.yml");
    let job = &pipeline["instances"];
    let lines = ["before_script", "script"]
        .into_iter()
        .flat_map(|part| job[part].as_array().expect("lines"));
    let mut script = "set -eo pipefail\n".to_owned();
    for line in lines {
        let told = text(line)
            .lines()
            .next()
            .unwrap_or_default()
            .replace('\'', "'\\''");
        script += ["echo '$ ", &told, "'\n", text(line), "\n"]
            .concat()
            .as_str();
    }
    let path = lab.path("temp/script.sh");
    std::fs::write(&path, script).expect("a file");
    let work = lab.path("work");
    let base = lab.git(&work, &["merge-base", "origin/main", "HEAD"]);
    Lab::run(
        lab.command("bash")
            .arg(&path)
            .envs(variables(&pipeline["variables"], &BTreeMap::new()))
            .env("CI_PROJECT_DIR", &work)
            .env("CI_PROJECT_ID", "42")
            .env("CI_API_V4_URL", "https://gitlab.example.com/api/v4")
            .env("CI_MERGE_REQUEST_IID", "7")
            .env("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "main")
            .env("CI_MERGE_REQUEST_DIFF_BASE_SHA", base)
            .envs(more.iter().copied()),
    )
}

fn has(what: &str, words: &[&str]) {
    for word in words {
        assert!(what.contains(word), "no `{word}` in:\n{what}");
    }
}

#[test]
fn the_actions_of_others_are_pinned_and_may_do_no_more_than_they_must() {
    let workflow = example("github-actions.yml");
    let mut seen = 0;
    for step in workflow["jobs"]["review"]["steps"]
        .as_array()
        .expect("steps")
    {
        let Some(uses) = step.get("uses") else {
            continue;
        };
        let (_, version) = text(uses).split_once('@').expect("a version");
        let parts: Vec<_> = version
            .strip_prefix('v')
            .expect("a tag")
            .split('.')
            .collect();
        assert_eq!(parts.len(), 3, "{uses}");
        assert!(
            parts.iter().all(|part| part.parse::<u32>().is_ok()),
            "{uses}"
        );
        seen += 1;
    }
    assert_eq!(seen, 3);
    let permissions = workflow["permissions"].as_object().expect("permissions");
    assert_eq!(permissions.len(), 3);
    assert_eq!(workflow["permissions"]["contents"], "read");
    assert!(workflow["on"].get("pull_request").is_some());
    assert!(
        workflow["on"].get("pull_request_target").is_none(),
        "it would run with the base's secrets"
    );
}

#[tokio::test]
async fn github_reviews_a_sound_change() {
    let lab = Lab::with_snapshot(&SOUND).await;
    let (failed, said) = github(&lab, true);
    assert_eq!(failed, None, "{said}");
    has(
        &lab.read("calls"),
        &[
            "cargo install --locked --git https://git.example.com/instanced.git --tag v0.1.0 instanced",
            "gh pr comment 7 --edit-last --create-if-none --body-file",
        ],
    );
    let comment = lab.read("comment.md");
    has(
        &comment,
        &["alice", "-image: acme/x:1", "+image: acme/x:2", "carol"],
    );
    assert!(
        !comment.contains("newcomer"),
        "what is on the base alone is no part of it: {comment}"
    );
    let report: Value =
        serde_json::from_str(&lab.read("temp/instanced.sarif")).expect("SARIF is JSON");
    assert_eq!(report["version"], "2.1.0");
    assert_eq!(report["runs"][0]["results"], Value::Array(Vec::new()));
    let summary = lab.read("summary.md");
    has(&summary, &[&comment, "````diff", "replace", "create"]);
    has(&said, &["note: as of 2"]);
    assert!(
        !summary.contains("newcomer"),
        "it stands and stays: {summary}"
    );
}

#[tokio::test]
async fn github_fails_where_a_manifest_is_broken() {
    let lab = Lab::with_snapshot(&BROKEN).await;
    let (failed, said) = github(&lab, true);
    assert_eq!(failed.as_deref(), Some("Validate"), "{said}");
    has(
        &said,
        &["::error file=instances.d/alice.yaml,line=2,col=1,"],
    );
    assert_eq!(lab.read("comment.md"), "");
    let report: Value =
        serde_json::from_str(&lab.read("temp/instanced.sarif")).expect("SARIF is JSON");
    let result = &report["runs"][0]["results"][0];
    assert_eq!(
        result["locations"][0]["physicalLocation"]["region"]["startLine"],
        2
    );

    let lab = Lab::with(&LOOSENING);
    let (failed, said) = github(&lab, true);
    assert_eq!(
        failed.as_deref(),
        Some("Validate"),
        "the policy is the base's: {said}"
    );
    has(&said, &["evil/x:1"]);
}

#[test]
fn github_writes_nothing_for_a_fork_and_plans_nothing_without_a_snapshot() {
    let lab = Lab::with(&SOUND);
    let (failed, said) = github(&lab, false);
    assert_eq!(failed, None, "{said}");
    assert!(!lab.read("calls").contains("gh "));
    has(&lab.read("summary.md"), &["+image: acme/x:2"]);
    has(&said, &["::notice::no snapshot"]);
}

#[tokio::test]
async fn gitlab_reviews_a_sound_change() {
    let lab = Lab::with_snapshot(&SOUND).await;
    let said = gitlab(&lab, &[("INSTANCED_COMMENT_TOKEN", "s3cret")]);
    assert_eq!(said.code, Some(0), "{}", said.all);
    has(
        &lab.read("calls"),
        &[
            "cargo install --locked --git https://git.example.com/instanced.git --tag v0.1.0 --root",
            "https://gitlab.example.com/api/v4/projects/42/merge_requests/7/notes",
        ],
    );
    let comment = lab.read("comment.md");
    has(&comment, &["-image: acme/x:1", "+image: acme/x:2", "carol"]);
    assert!(!comment.contains("newcomer"), "{comment}");
    has(
        &lab.read("work/instanced-reports/instanced.junit.xml"),
        &["failures=\"0\"", "instances.d/alice.yaml"],
    );
    let plan = lab.read("work/instanced-reports/plan.txt");
    has(&plan, &["alice", "replace", "carol", "create"]);
    assert!(!plan.contains("newcomer"), "it stands and stays: {plan}");
    assert!(!said.all.contains("s3cret"), "{}", said.all);
}

#[tokio::test]
async fn gitlab_fails_where_a_manifest_is_broken() {
    let lab = Lab::with_snapshot(&BROKEN).await;
    let said = gitlab(&lab, &[("INSTANCED_COMMENT_TOKEN", "s3cret")]);
    assert_eq!(said.code, Some(1), "{}", said.all);
    let last = said
        .all
        .lines()
        .rfind(|line| line.starts_with("$ "))
        .expect("a line");
    assert!(last.ends_with("validate --strict"), "it failed at: {last}");
    has(&said.all, &["instances.d/alice.yaml:2:1"]);
    has(
        &lab.read("work/instanced-reports/instanced.junit.xml"),
        &["failures=\"1\"", "instances.d/alice.yaml:2:1"],
    );
    assert_eq!(lab.read("comment.md"), "");
}

#[test]
fn gitlab_needs_neither_a_token_nor_a_snapshot() {
    let lab = Lab::with(&SOUND);
    let said = gitlab(&lab, &[]);
    assert_eq!(said.code, Some(0), "{}", said.all);
    assert!(!lab.read("calls").contains("curl"));
    has(
        &lab.read("work/instanced-reports/diff.md"),
        &["+image: acme/x:2"],
    );
    has(
        &said.all,
        &["no snapshot of the fleet has been recorded yet"],
    );
}

/// What a pull request may put into its checkout: links at the names of reports, and programs.
fn boobytrapped(lab: &Lab) {
    lab.write("victim", "untouched");
    let links = [
        "instanced.sarif",
        "instanced.junit.xml",
        "diff.md",
        "plan.txt",
    ];
    for name in links {
        std::os::unix::fs::symlink(lab.path("victim"), lab.path("work").join(name))
            .expect("a link");
    }
    std::fs::create_dir(lab.path("victims")).expect("a directory");
    std::os::unix::fs::symlink(lab.path("victims"), lab.path("work/instanced-reports"))
        .expect("a link");
    lab.program(
        "work/.instanced/bin/instanced",
        "echo ran >\"$LAB/victim\"; exit 0",
    );
}

#[test]
fn what_a_pull_request_puts_into_its_checkout_is_neither_written_to_nor_run() {
    let runs: [fn(&Lab) -> String; 2] = [
        |lab| {
            let (failed, said) = github(lab, true);
            assert_eq!(failed, None, "{said}");
            said
        },
        |lab| {
            let said = gitlab(lab, &[]);
            assert_eq!(said.code, Some(0), "{}", said.all);
            assert!(!lab.path("work/instanced-reports").is_symlink());
            has(
                &lab.read("work/instanced-reports/diff.md"),
                &["+image: acme/x:2"],
            );
            said.all
        },
    ];
    for run in runs {
        let lab = Lab::with(&SOUND);
        boobytrapped(&lab);
        let said = run(&lab);
        assert_eq!(lab.read("victim"), "untouched", "{said}");
        let victims = std::fs::read_dir(lab.path("victims")).expect("a directory");
        assert_eq!(victims.count(), 0, "{said}");
        // It would heed a configuration there.
        let work = lab.path("work").display().to_string();
        assert!(!lab.read("calls").contains(&format!("cargo in {work}")));
        has(&lab.read("calls"), &["cargo in "]);
    }
}

#[test]
fn the_workflows_start_for_every_file_that_counts() {
    let hub = &example("github-actions.yml")["on"]["pull_request"]["paths"];
    let lab = &example("gitlab-ci.yml")["instances"]["rules"][0]["changes"];
    for paths in [hub, lab] {
        let paths: Vec<_> = paths.as_array().expect("a list").iter().map(text).collect();
        for wanted in [
            "instances.d",
            "fleet.yaml",
            "fleet.yml",
            "**/.gitattributes",
        ] {
            assert!(paths.contains(&wanted), "no {wanted}: {paths:?}");
        }
    }
}

#[test]
fn the_hook_judges_what_is_staged_and_nothing_else() {
    let lab = Lab::with(&[]);
    lab.install();
    let hook = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/ci/pre-commit");
    let work = lab.path("work");
    std::fs::copy(hook, work.join(".git/hooks/pre-commit")).expect("a hook");
    let commit = || {
        Lab::run(
            lab.command("git")
                .args(["commit", "--quiet", "--message", "x"]),
        )
    };

    lab.write("work/instances.d/alice.yaml", "colour: red\n");
    lab.git(&work, &["add", "--all"]);
    let said = commit();
    assert_eq!(said.code, Some(1), "{}", said.all);
    has(&said.all, &["instances.d/alice.yaml:1:1"]);

    // Mended in the working tree alone: what is staged is still broken.
    lab.write("work/instances.d/alice.yaml", "{}\n");
    assert_eq!(commit().code, Some(1));

    lab.write("work/instances.d/alice.yaml", "owner: me@example.com\n");
    lab.git(&work, &["add", "--all"]);
    lab.write("work/instances.d/alice.yaml", "colour: red\n");
    let said = commit();
    assert_eq!(said.code, Some(0), "{}", said.all);

    // The team's rules are asked, and a commit that is about something else costs nothing.
    lab.write("work/instances.d/alice.yaml", "image: evil/x:1\n");
    lab.git(&work, &["add", "--all"]);
    assert_eq!(commit().code, Some(1));
    lab.git(&work, &["reset", "--quiet"]);
    lab.write("work/README", "x\n");
    lab.git(&work, &["add", "README"]);
    assert_eq!(commit().code, Some(0));
}

#[test]
fn the_hook_for_pre_commit_does_what_it_says() {
    let hooks = example("pre-commit-config.yaml");
    let hook = &hooks["repos"][0]["hooks"][0];
    let run = |changes: &[(&str, &str)]| {
        let lab = Lab::with(changes);
        lab.install();
        let mut words = text(&hook["entry"]).split(' ');
        Lab::run(lab.command(words.next().expect("a program")).args(words))
    };
    assert_eq!(run(&SOUND).code, Some(0));
    let said = run(&BROKEN);
    assert_eq!(said.code, Some(1));
    has(&said.all, &["instances.d/alice.yaml:2:1"]);
}

#[test]
fn the_readme_tells_of_each_file() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/ci");
    let readme = std::fs::read_to_string(dir.join("README.md")).expect("its README");
    for entry in std::fs::read_dir(dir).expect("examples/ci") {
        let name = entry
            .expect("an entry")
            .file_name()
            .into_string()
            .expect("UTF-8");
        assert!(
            name == "README.md" || readme.contains(&format!("`{name}`")),
            "{name}"
        );
    }
}
