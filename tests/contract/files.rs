//! Secrets travel as files, before the container starts.

use instanced::doors::engine::ErrorClass;
use instanced::doors::engine::containers::{
    ChangeContainers as _, Draft, DraftFile, DraftMount, MountSource, ReadContainers as _,
};
use instanced::words::secret::SecretValue;

use crate::lab::Lab;

const DIRECTORY: &str = "/run/secrets";

fn file(name: &str, content: &[u8], mode: u32, uid: u32) -> DraftFile {
    let content = SecretValue::new(content.to_vec());
    DraftFile {
        name: name.to_owned(),
        content,
        mode,
        uid,
        gid: uid,
    }
}

async fn with_volume(lab: &impl Lab) -> Draft {
    let mut draft = lab.draft("a");
    let volume = lab.name("secrets");
    let labels = lab.labels().into_iter().collect();
    lab.engine()
        .create_volume(&volume, &labels)
        .await
        .expect("a volume");
    let source = MountSource::Volume(volume);
    draft.mounts.push(DraftMount {
        source,
        target: DIRECTORY.to_owned(),
        read_only: false,
    });
    draft
}

pub async fn files_are_put_before_start_and_read_back(lab: &impl Lab) {
    let (engine, draft) = (lab.engine(), with_volume(lab).await);
    let id = engine.create(&draft).await.expect("created");
    let big = vec![b'x'; 300_000];
    let files = [
        file("vnc_password", b"hunter2", 0o400, 1000),
        file("big", &big, 0o640, 7),
    ];
    engine.put_files(&id, DIRECTORY, &files).await.expect("put");
    engine
        .put_files(&id, DIRECTORY, &files)
        .await
        .expect("put again");
    let read = async |name: &str| {
        engine
            .read_file(&id, &format!("{DIRECTORY}/{name}"))
            .await
            .expect("read")
    };
    assert_eq!(read("vnc_password").await, b"hunter2", "before the start");

    engine.start(&id).await.expect("started");
    assert_eq!(
        lab.file_facts(&id, "/run/secrets/vnc_password").await,
        "0400 1000 1000"
    );
    assert_eq!(lab.file_facts(&id, "/run/secrets/big").await, "0640 7 7");
    assert_eq!(read("vnc_password").await, b"hunter2", "while it runs");
    assert_eq!(read("big").await, big);
    engine.stop(&id, 5).await.expect("stopped");
    assert_eq!(read("vnc_password").await, b"hunter2", "after the stop");
}

pub async fn a_read_only_root_takes_no_files(lab: &impl Lab) {
    let id = lab.engine().create(&lab.draft("a")).await.expect("created");
    let error = lab
        .engine()
        .put_files(&id, "/", &[file("a", b"", 0o400, 0)])
        .await
        .expect_err("refused");
    assert_eq!(error.class, ErrorClass::Permanent, "{error}");
}

pub async fn a_file_that_is_not_there_is_gone(lab: &impl Lab) {
    let id = lab
        .engine()
        .create(&with_volume(lab).await)
        .await
        .expect("created");
    let error = lab
        .engine()
        .read_file(&id, "/run/secrets/none")
        .await
        .expect_err("refused");
    assert_eq!(error.class, ErrorClass::Gone, "{error}");
}

pub async fn a_directory_is_no_file(lab: &impl Lab) {
    let id = lab
        .engine()
        .create(&with_volume(lab).await)
        .await
        .expect("created");
    let error = lab
        .engine()
        .read_file(&id, DIRECTORY)
        .await
        .expect_err("refused");
    assert_eq!(error.class, ErrorClass::Permanent, "{error}");
}
