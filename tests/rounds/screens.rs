//! The passwords of a screen that people open by links.

use super::Lab;

const BY_LINKS: &str = "endpoints: { vnc: { auth: ticket } }";
const FILE: &str = "/run/secrets/vnc_view_password";

fn has_second_password(lab: &Lab, container: &str) -> bool {
    lab.engine.file_facts(container, FILE).is_some()
}

#[tokio::test]
async fn only_a_screen_behind_tickets_gets_a_second_password() {
    let lab = Lab::new(&[("alice", BY_LINKS), ("bob", "{}")]);
    lab.round().await;
    assert!(has_second_password(&lab, "instanced-default-alice-g1"));
    assert!(!has_second_password(&lab, "instanced-default-bob-g1"));
    lab.engine.clear_journal();
    assert_eq!(lab.round().await.steps, []);
    assert_eq!(lab.engine.journal(), Vec::<String>::new());
}

#[tokio::test]
async fn a_password_for_looking_that_could_also_type_is_refused() {
    let mut lab = Lab::new(&[]);
    lab.site.config.policy.secrets.allow = vec!["*".to_owned()];
    let file = lab.dir.path().join("password");
    std::fs::write(&file, "12345678, and more").expect("a file");
    lab.write(
        "alice",
        &format!(
            "vnc: {{ password: {{ from_file: {0} }}, view_password: {{ from_file: {0} }} }}",
            file.display()
        ),
    );
    let report = lab.round().await;
    let told = format!("{report:?}");
    assert!(
        told.contains("whoever may look could also type"),
        "{report:#?}"
    );
    assert_eq!(lab.running(), Vec::<String>::new());
}
