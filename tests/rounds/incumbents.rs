//! A host name and a volume belong to the instance whose container has them, whatever its manifest says.

use std::collections::BTreeMap;

use instanced::decisions::report::Outcome;
use instanced::words::label;

use crate::{IMAGE, Lab, outcome};

const VICTIM: &str = "instanced-default-zed-abc-g1";
const OTHER: &str = "instanced-default-other-g1";
/// Claims the host `mcp-zed-abc` for everybody.
const ABC: &str = "endpoints: { mcp-zed: { port: 8080, path: /mcp, auth: none }, mcp: null }\n";

fn manifest(more: &str) -> String {
    format!("template: mcp-http\nimage: {IMAGE}\n{more}")
}

/// A victim that runs.
async fn lab(victim: &str) -> Lab {
    let lab = Lab::new(&[("zed-abc", &manifest(victim))]);
    lab.round().await;
    assert_eq!(lab.running(), [VICTIM]);
    lab
}

/// The attacker gets no container, the victim keeps its own, and another newcomer does not wait.
async fn defends(lab: &Lab, what: &str) {
    lab.write("abc", &manifest(ABC));
    lab.write("other", &manifest(""));
    for _ in 0..3 {
        let report = lab.round().await;
        assert_eq!(*outcome(&report, "abc"), Outcome::Held, "{what}");
        let step = report
            .steps
            .iter()
            .find(|s| s.step.instance.as_str() == "abc");
        let reason = step.expect("a step").step.reason.to_string();
        assert!(
            reason.contains("belongs to the instance zed-abc"),
            "{reason}"
        );
        assert_eq!(lab.running(), [OTHER, VICTIM], "{what}");
    }
}

#[tokio::test]
async fn a_second_manifest_of_the_victim_does_not_free_its_host() {
    let lab = lab("").await;
    let second = lab.dir.path().join("instances.d/zed-abc.yml");
    std::fs::write(&second, "{}").expect("a manifest");
    defends(&lab, "a second manifest").await;
    // Both files go again: the victim was never touched.
    std::fs::remove_file(second).expect("removed");
    lab.delete("abc");
    let report = lab.round().await;
    assert!(report.steps.is_empty(), "{report:#?}");
}

#[tokio::test]
async fn a_protected_victim_without_a_manifest_keeps_its_host() {
    let lab = lab("protect: true\n").await;
    lab.delete("zed-abc");
    defends(&lab, "protected").await;
}

#[tokio::test]
async fn an_unknown_key_in_the_victims_manifest_does_not_free_its_host() {
    let lab = lab("").await;
    lab.write("zed-abc", &manifest("memroy: 1G\n"));
    defends(&lab, "an unknown key").await;
    lab.write("zed-abc", "{ no: [yaml");
    defends(&lab, "no YAML").await;
}

#[tokio::test]
async fn a_host_is_free_once_no_container_has_it() {
    let lab = lab("").await;
    lab.delete("zed-abc");
    lab.write("abc", &manifest(ABC));
    // The victim goes in this round.
    assert_eq!(*outcome(&lab.round().await, "abc"), Outcome::Held);
    lab.round().await;
    assert_eq!(lab.running(), ["instanced-default-abc-g1"]);
}

#[tokio::test]
async fn a_volume_that_another_instance_owns_fails_that_one_alone() {
    let lab = Lab::new(&[
        (
            "ap",
            &manifest("volumes: [{ name: data, target: /data }]\n"),
        ),
        ("other", &manifest("")),
    ]);
    let volume = "instanced-default-ap-vol-data";
    let of = |owner: &str| BTreeMap::from([(label::VOLUME_OF.to_owned(), owner.to_owned())]);
    lab.engine.leave_volume(volume, of("default/ap-vol-b"));
    let report = lab.round().await;
    let Outcome::Failed(failure) = outcome(&report, "ap") else {
        panic!("{report:#?}");
    };
    assert!(
        failure
            .message
            .contains("it belongs to default/ap-vol-b, as its labels say"),
        "{failure:?}"
    );
    assert_eq!(lab.running(), [OTHER]);
}

#[tokio::test]
async fn a_named_volume_says_whose_it_is_and_one_of_an_earlier_release_is_taken_over() {
    let volumes = "volumes: [{ name: new, target: /new }, { name: old, target: /old }]\n";
    let lab = Lab::new(&[("ap", &manifest(volumes))]);
    lab.engine
        .leave_volume("instanced-default-ap-vol-old", BTreeMap::new());
    lab.round().await;
    assert_eq!(lab.running(), ["instanced-default-ap-g1"]);
    let named = |volume: &str, owned| (format!("instanced-default-ap-vol-{volume}"), owned);
    let all = lab.engine.volume_names(label::VOLUME_OF);
    assert_eq!(all, [named("new", true), named("old", false)]);
    // It is nothing that a crash left.
    lab.delete("ap");
    lab.round().await;
    lab.round().await;
    assert_eq!(lab.engine.volume_names(label::VOLUME_OF), all);
    lab.write("ap", &manifest(volumes));
    lab.round().await;
    assert_eq!(lab.running(), ["instanced-default-ap-g1"]);
}
