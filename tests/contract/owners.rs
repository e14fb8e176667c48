//! Whom the instance's own volumes belong to.

use instanced::doors::engine::containers::ChangeContainers as _;

use crate::fleet_lab::{create, fleet, spec};
use crate::lab::Lab as _;
use crate::real::{DockerLab, in_lab, must};

/// The image has no such directory, so Docker makes the volume root's.
#[tokio::test]
async fn a_fresh_volume_belongs_to_the_instance_s_user() {
    in_lab(async |lab: &DockerLab| {
        for (name, read_only) in [("a", false), ("b", true)] {
            let manifest = format!(
                "template: mcp-http\nvolumes: [{{ name: d, target: /srv/data }}]\n\
                 security: {{ user: \"1234:99\", read_only: {read_only} }}\n"
            );
            let fleet = fleet(lab);
            create::<DockerLab>(&fleet, &spec(lab, name, &manifest)).await;
            let container = format!("instanced-{}-{name}-g1", lab.manager());
            let facts = lab.file_facts(&container, "/srv/data").await;
            assert!(facts.contains("1234") && facts.contains("99"), "{facts}");
            must(&["exec", &container, "/tiny", "write", "/srv/data/x"]).await;
            // What is in use stays as it is.
            let owned = lab
                .engine()
                .own_volume(&container, "/srv/data", (7, 7))
                .await;
            assert!(owned.expect("done"));
            assert_eq!(lab.file_facts(&container, "/srv/data").await, facts);
        }
    })
    .await;
}

/// The mount follows the link, and so does whom the volume belongs to: the engine takes it over from the image.
#[tokio::test]
async fn a_volume_where_the_image_has_a_link_is_mounted_as_before() {
    in_lab(async |lab: &DockerLab| {
        let scratch = tempfile::tempdir().expect("a directory");
        let link = scratch.path().join("data");
        std::os::unix::fs::symlink("/etc", &link).expect("a link");
        let link = link.to_str().expect("a path");
        let base = format!("{}-link", lab.manager());
        let image = format!("{base}:1");
        must(&["create", "--name", &base, lab.image()]).await;
        must(&["cp", link, &format!("{base}:/data")]).await;
        must(&["commit", &base, &image]).await;
        must(&["rm", &base]).await;
        let manifest = format!(
            "template: mcp-http\nimage: \"{image}\"\nvolumes: [{{ name: d, target: /data }}]\n"
        );
        let fleet = fleet(lab);
        create::<DockerLab>(&fleet, &spec(lab, "l", &manifest)).await;
        let container = format!("instanced-{}-l-g1", lab.manager());
        must(&["exec", &container, "/tiny", "ping"]).await;
        must(&["rm", "--force", &container]).await;
        must(&["image", "rm", &image]).await;
    })
    .await;
}
