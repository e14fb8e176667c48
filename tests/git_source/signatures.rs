//! Only what somebody signed who may is taken.

use std::fs;
use std::process::Command;

use instanced::words::config::Signers;

use super::assert_untouched;
use super::lab::Lab;

/// A new key; returns its public half.
fn key(lab: &Lab, name: &str) -> String {
    let path = lab.path(name);
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
        .arg(&path)
        .status();
    assert!(made.expect("ssh-keygen is there").success());
    fs::read_to_string(path.with_extension("pub")).expect("a public key")
}

fn commit_signed(lab: &Lab, message: &str, key: &str) -> String {
    let key = format!("user.signingkey={}", lab.path(key).display());
    lab.git(&["add", "--all"]);
    lab.git(&[
        "-c",
        "gpg.format=ssh",
        "-c",
        &key,
        "commit",
        "--quiet",
        "-S",
        "--allow-empty",
        "--message",
        message,
    ]);
    lab.push_by_force();
    lab.git(&["rev-parse", "HEAD"])
}

#[tokio::test(flavor = "multi_thread")]
async fn only_commits_of_allowed_signers_are_taken() {
    let mut lab = Lab::new();
    let ada = key(&lab, "ada");
    key(&lab, "eve");
    let signers = lab.path("allowed_signers");
    fs::write(&signers, format!("ada@example.com {ada}")).unwrap();
    let allowed_signers = signers.clone();
    lab.follow(|git| git.verify_signatures = Some(Signers { allowed_signers }));

    lab.write("instances.d/alice.yaml", "{}\n");
    lab.commit("by nobody");
    lab.sync().await.expect("a fetch");
    let told = lab.round().await.aborted.expect("nothing to go by").message;
    assert!(told.contains("is not signed by anyone whom"), "{told}");
    assert_eq!(lab.running(), [] as [String; 0]);

    lab.write("instances.d/bob.yaml", "{}\n");
    let good = commit_signed(&lab, "by Ada", "ada");
    lab.sync().await.expect("a fetch");
    assert_eq!(lab.round().await.commit.map(|c| c.id), Some(good.clone()));
    assert_eq!(lab.running(), ["alice-g1", "bob-g1"]);

    // By another, by nobody, and by a kind of signature whose keyring nobody allowed.
    for (count, sign) in [(1, "eve"), (2, ""), (3, "gpg")] {
        lab.write(
            "instances.d/alice.yaml",
            &format!("env: {{ N: \"{count}\" }}\n"),
        );
        match sign {
            "eve" => drop(commit_signed(&lab, "by Eve", "eve")),
            "gpg" => commit_with_openpgp(&lab),
            _ => drop(lab.commit("by nobody")),
        }
        lab.sync().await.expect("a fetch");
        let report = lab.round().await;
        assert_untouched(&report);
        assert_eq!(report.commit.map(|c| c.id), Some(good.clone()), "{sign}");
        let behind = lab.status().behind.expect("what was fetched is not used");
        assert_eq!(behind.commits, Some(count), "{sign}");
        assert!(
            behind.why.contains("is not signed by anyone whom"),
            "{behind:?}"
        );
    }

    // Once Eve is allowed, hers is taken without another commit.
    commit_signed(&lab, "by Eve again", "eve");
    lab.sync().await.expect("a fetch");
    assert_untouched(&lab.round().await);
    let eve = fs::read_to_string(lab.path("eve.pub")).unwrap();
    fs::write(
        &signers,
        format!("ada@example.com {ada}eve@example.com {eve}"),
    )
    .unwrap();
    lab.round().await;
    assert_eq!(lab.running(), ["alice-g2", "bob-g1"]);
    assert_eq!(lab.status().behind, None);

    fs::remove_file(&signers).unwrap();
    lab.restart();
    lab.sync().await.expect("a fetch");
    let told = lab
        .round()
        .await
        .aborted
        .expect("nobody is allowed")
        .message;
    assert!(told.contains("there is no such file"), "{told}");
}

/// A commit that looks signed with `OpenPGP`. No keyring is ever asked, so what it says does not matter.
fn commit_with_openpgp(lab: &Lab) {
    lab.git(&["add", "--all"]);
    let tree = lab.git(&["write-tree"]);
    let parent = lab.git(&["rev-parse", "HEAD"]);
    let who = "Ada Lovelace <ada@example.com> 1764239000 +0000";
    let text = format!(
        "tree {tree}\nparent {parent}\nauthor {who}\ncommitter {who}\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n iQEzBAABCAAdFiEE\n -----END PGP SIGNATURE-----\n\nlooks signed\n"
    );
    fs::write(lab.path("commit"), text).expect("a file");
    let id = lab.git(&["hash-object", "-t", "commit", "-w", "../commit"]);
    lab.git(&["reset", "--quiet", "--hard", &id]);
    lab.push_by_force();
}
