//! Notices, as a receiver on loopback gets them: signed, once, in order, also after a restart, and whatever the receiver
//! does. What is told and when is tested where it is decided: `src/decisions/notice/tests.rs`.

#![allow(clippy::unwrap_used)] // Clippy knows test functions, not the helpers beside them.

#[path = "notifications/daemon.rs"]
mod daemon;
#[path = "notifications/lab.rs"]
mod lab;
#[path = "support/process.rs"]
mod process;
#[path = "notifications/receiver.rs"]
mod receiver;

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use instanced::doors::tls::Authority;
use serde_json::Value;

use lab::{Lab, SECRET, away, frozen, well};
use receiver::{Answer, Letter, Receiver};

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_is_signed_and_says_what_to_do() {
    let receiver = Receiver::start().await;
    let mut lab = Lab::new(&[&receiver.url("/hook?key=1")]);
    lab.start().await;
    lab.note(&frozen(&["alice"]));
    let letter = receiver.next().await;
    assert_eq!(letter.line, "POST /hook?key=1 HTTP/1.1");
    assert_eq!(letter.header("content-type"), "application/json");
    assert!(letter.header("webhook-id").starts_with("msg_"));
    assert!(verified(&letter, SECRET), "{letter:?}");
    let told = letter.body();
    assert_eq!(told["type"], "instance.frozen");
    assert_eq!(told["data"]["state"], "began");
    assert_eq!(told["data"]["instance"], "alice");
    assert_eq!(told["data"]["manager"], "default");
    let help = told["data"]["help"].as_str().expect("a way out");
    assert!(help.contains("instanced resume alice"), "{help}");
    let mut forged = letter.clone();
    forged.text = forged.text.replace("alice", "bob");
    assert!(!verified(&forged, SECRET));
    lab.stop().await;
}

/// As docs/notifications.md says it is done.
fn verified(letter: &Letter, secret: &str) -> bool {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/notifications.md");
    let docs = std::fs::read_to_string(docs).expect("docs/notifications.md");
    let (_, script) = docs.split_once("```sh\n").expect("the example");
    let (script, _) = script.split_once("```").expect("its end");
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("secret"), format!("{secret}\n")).expect("a file");
    let mut child = Command::new("sh")
        .args(["-c", script])
        .current_dir(dir.path())
        .env("WEBHOOK_ID", letter.header("webhook-id"))
        .env("WEBHOOK_TIMESTAMP", letter.header("webhook-timestamp"))
        .env("WEBHOOK_SIGNATURE", letter.header("webhook-signature"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell");
    let mut stdin = child.stdin.take().expect("a pipe was asked for");
    // It may have refused before it has read all.
    let _ = stdin.write_all(letter.text.as_bytes());
    drop(stdin);
    child.wait().expect("it ends").success()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_is_old_proves_nothing() {
    let receiver = Receiver::start().await;
    let mut lab = Lab::new(&[&receiver.url("/")]);
    lab.start().await;
    lab.note(&frozen(&["alice"]));
    let mut letter = receiver.next().await;
    assert!(verified(&letter, SECRET));
    letter.set("webhook-timestamp", "1614265330");
    assert!(!verified(&letter, SECRET));
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_changed_without_a_moment_in_which_nobody_can_verify() {
    let receiver = Receiver::start().await;
    let mut lab = Lab::new(&[&receiver.url("/")]);
    lab.start().await;
    let new = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    lab.write("secret", &format!("{new}\n{SECRET}\n"));
    lab.note(&frozen(&["alice"]));
    let letter = receiver.next().await;
    assert!(verified(&letter, SECRET) && verified(&letter, new));
    lab.write("secret", &format!("{new}\n"));
    lab.note(&well());
    let letter = receiver.next().await;
    assert!(!verified(&letter, SECRET) && verified(&letter, new));
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_told_once_also_by_the_next_process_and_over_once() {
    let receiver = Receiver::start().await;
    let mut lab = Lab::new(&[&receiver.url("/")]);
    lab.start().await;
    for _ in 0..5 {
        lab.note(&frozen(&["alice"]));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(receiver.next().await.said(), "began instance.frozen alice");
    lab.until_delivered(1).await;
    lab.stop().await;

    lab.start().await;
    lab.note(&frozen(&["alice", "bob"]));
    // What was told before is not told again: bob's is the next.
    assert_eq!(receiver.next().await.said(), "began instance.frozen bob");
    // A round that saw nothing ends nothing.
    lab.note(&away());
    lab.note(&frozen(&["bob"]));
    assert_eq!(receiver.next().await.said(), "over instance.frozen alice");
    lab.until_delivered(2).await;
    lab.stop().await;

    lab.start().await;
    lab.note(&well());
    assert_eq!(receiver.next().await.said(), "over instance.frozen bob");
    lab.until_delivered(1).await;
    lab.stop().await;

    lab.start().await;
    lab.note(&well());
    assert!(receiver.nothing_for(Duration::from_millis(300)).await);
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_soon_is_not_told_and_what_lasts_is_without_another_round() {
    let receiver = Receiver::start().await;
    let mut lab = Lab::new(&[&receiver.url("/")]);
    lab.config.after = "500ms".parse().expect("a span");
    lab.start().await;
    lab.note(&away());
    lab.note(&well());
    assert!(receiver.nothing_for(Duration::from_millis(800)).await);
    lab.note(&away());
    assert_eq!(receiver.next().await.said(), "began engine.away");
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_down_gets_all_of_it_in_order_later_and_the_next_process_sends_it() {
    let receiver = Receiver::start().await;
    let url = receiver.url("/");
    let address = receiver.stop().await;
    let mut lab = Lab::new(&[&url]);
    lab.start().await;
    lab.note(&frozen(&["alice"]));
    lab.until_failed(1).await;
    lab.note(&well());
    assert_eq!(lab.until_waiting(2).await, 2);
    lab.stop().await;

    let receiver = Receiver::at(address).await;
    lab.start().await;
    assert_eq!(receiver.next().await.said(), "began instance.frozen alice");
    assert_eq!(receiver.next().await.said(), "over instance.frozen alice");
    assert_eq!(lab.until_waiting(0).await, 0);
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_no_success_is_tried_again_under_the_same_name() {
    let answers = [
        Answer::Status(500, ""),
        Answer::Status(404, ""),
        Answer::Status(302, "Location: /elsewhere\r\n"),
        Answer::Hangup,
    ];
    let mut receivers = Vec::new();
    for answer in answers {
        let receiver = Receiver::start().await;
        receiver.answers(&[answer]);
        receivers.push(receiver);
    }
    let urls: Vec<String> = receivers.iter().map(|one| one.url("/")).collect();
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    let mut lab = Lab::new(&urls);
    lab.start().await;
    lab.note(&frozen(&["alice"]));
    for receiver in &receivers {
        let (first, again) = (receiver.next().await, receiver.next().await);
        assert_eq!(again.line, "POST / HTTP/1.1");
        assert_eq!(again.header("webhook-id"), first.header("webhook-id"));
        assert_eq!(again.text, first.text);
        assert!(verified(&again, SECRET));
    }
    lab.until_delivered(4).await;
    assert_eq!(lab.counts().failed(), 4);
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_gone_is_asked_once_and_whoever_asks_for_time_gets_it() {
    let receiver = Receiver::start().await;
    receiver.answers(&[
        Answer::Status(410, ""),
        Answer::Status(429, "Retry-After: 3\r\n"),
    ]);
    let mut lab = Lab::new(&[&receiver.url("/")]);
    lab.start().await;
    lab.note(&frozen(&["alice"]));
    let first = receiver.next().await;
    lab.note(&frozen(&["alice", "bob"]));
    let second = receiver.next().await;
    assert_ne!(first.header("webhook-id"), second.header("webhook-id"));
    let since = tokio::time::Instant::now();
    let again = receiver.next().await;
    assert_eq!(again.header("webhook-id"), second.header("webhook-id"));
    assert!(since.elapsed() > Duration::from_millis(2_900));
    lab.until_delivered(1).await;
    assert_eq!(lab.counts().dropped(), 1);
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_receiver_delays_neither_rounds_nor_others_nor_the_end() {
    let (slow, quick) = (Receiver::start().await, Receiver::start().await);
    slow.answers(&[Answer::Never]);
    let mut lab = Lab::new(&[&slow.url("/"), &quick.url("/")]);
    lab.start().await;
    let since = tokio::time::Instant::now();
    lab.note(&frozen(&["alice"]));
    slow.next().await;
    for n in 0..200 {
        lab.note(&if n % 2 == 0 {
            well()
        } else {
            frozen(&["alice"])
        });
    }
    assert_eq!(quick.next().await.said(), "began instance.frozen alice");
    lab.note(&frozen(&["bob"]));
    while quick.next().await.said() != "began instance.frozen bob" {}
    lab.stop().await;
    assert!(
        since.elapsed() < Duration::from_secs(10),
        "nobody waits for what is never answered"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_a_receiver_must_prove_who_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let [ours, other] = ["ours", "other"].map(|name| {
        let dir = dir.path().join(name);
        std::fs::create_dir(&dir).expect("a directory");
        let authority = Authority::open(&dir).expect("an authority");
        (authority, dir.join("auth-ca.pem"))
    });
    let acceptor = ours.0.acceptor(&["127.0.0.1".to_owned()]);
    let receiver = Receiver::start_tls(acceptor.expect("a certificate")).await;
    for (ca_file, proves) in [(Some(ours.1), true), (Some(other.1), false), (None, false)] {
        let mut lab = Lab::new(&[&receiver.url("/")]);
        lab.config.webhooks[0].ca_file.clone_from(&ca_file);
        lab.start().await;
        lab.note(&frozen(&["alice"]));
        if proves {
            assert!(verified(&receiver.next().await, SECRET));
            lab.until_delivered(1).await;
        } else {
            lab.until_failed(1).await;
            assert_eq!(lab.counts().delivered(), 0, "{ca_file:?}");
        }
        lab.stop().await;
    }
    let acceptor = other.0.acceptor(&["elsewhere.localhost".to_owned()]);
    let elsewhere = Receiver::start_tls(acceptor.expect("a certificate")).await;
    let mut lab = Lab::new(&[&elsewhere.url("/")]);
    lab.config.webhooks[0].ca_file = Some(dir.path().join("other/auth-ca.pem"));
    lab.start().await;
    lab.note(&frozen(&["alice"]));
    lab.until_failed(1).await;
    assert_eq!(lab.counts().delivered(), 0, "a certificate of another name");
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_signed_or_trusted_is_told_at_the_start() {
    let mut lab = Lab::new(&["https://127.0.0.1:9/"]);
    lab.write("secret", "hunter2hunter2hunter2hunter2\n");
    let told = lab.try_start().await.expect_err("that is no secret");
    assert!(told.message.contains("begins with `whsec_`"), "{told:?}");
    assert!(!told.message.contains("hunter2"), "{told:?}");
    lab.write("secret", SECRET);
    lab.write("ca.pem", "no certificate");
    lab.config.webhooks[0].ca_file = Some(lab.path("ca.pem"));
    let told = lab.try_start().await.expect_err("that is no authority");
    assert!(
        told.message.contains("no certificate of an authority"),
        "{told:?}"
    );
}

/// `began instance.frozen alice`.
fn said(body: &Value) -> String {
    let data = &body["data"];
    let words = [&data["state"], &body["type"], &data["instance"]];
    let words = words.map(|word| word.as_str().unwrap_or_default());
    words.join(" ").trim().to_owned()
}
