use super::super::edge;
use super::super::facts::{
    AuthAnswer, AuthFacts, ProxySeen, RouterSeen, Seen, TraefikFacts, TraefikSeen,
};
use super::super::{Finding, Grade};
use super::{failure, is};

fn auth(here: AuthAnswer, proxies: Vec<ProxySeen>, daemon_runs: bool) -> Vec<Finding> {
    edge::auth(&AuthFacts {
        url: "http://127.0.0.1:9180/auth".to_owned(),
        here,
        proxies,
        instance: None,
        daemon_runs,
    })
}

fn proxy(on_host: bool, answer: Result<AuthAnswer, &str>) -> ProxySeen {
    ProxySeen {
        container: "edge".to_owned(),
        on_host,
        addresses: vec!["172.18.0.2".parse().unwrap()],
        answer: answer.map_err(str::to_owned),
    }
}

#[test]
fn the_listener_must_ask_for_a_token_wherever_traefik_stands() {
    use AuthAnswer::{None as Silent, Status, Unasked};
    for (answer, grade, words) in [
        (Status(401), Grade::Ok, "asks this host for a token"),
        (Status(403), Grade::Problem, "no trusted proxy"),
        (Status(503), Grade::Warning, "knows nobody yet"),
        (Status(204), Grade::Problem, "without a token"),
        (Status(404), Grade::Problem, "status 404"),
        (Silent("refused".into()), Grade::Problem, "refused"),
        (Unasked("TLS".into()), Grade::Note, "TLS"),
    ] {
        let all = auth(answer, vec![], true);
        assert_eq!(all.len(), 1);
        is(&all[0], grade, words);
    }
    is(
        &auth(Silent("x".into()), vec![], false)[0],
        Grade::Note,
        "no daemon runs",
    );
    is(
        &auth(Status(200), vec![], false)[0],
        Grade::Problem,
        "not the daemon",
    );

    let both = auth(Status(401), vec![proxy(false, Ok(Status(401)))], true);
    is(&both[0], Grade::Ok, "asks this host");
    is(&both[1], Grade::Ok, "asks container edge");
    let alone = auth(Status(403), vec![proxy(false, Ok(Status(401)))], true);
    is(&alone[0], Grade::Ok, "refuses this host");
    is(&alone[1], Grade::Ok, "asks container edge");
    let inside = auth(Status(401), vec![proxy(false, Ok(Status(403)))], true);
    is(&inside[1], Grade::Problem, "container edge");
    assert!(inside[1].help.as_deref().unwrap().contains("172.18.0.2"));
    let unseen = auth(Status(401), vec![proxy(false, Err("only root"))], true);
    is(&unseen[1], Grade::Note, "only root");
    // On the host's network it sees what the host sees.
    assert_eq!(
        auth(Status(401), vec![proxy(true, Err("x"))], true).len(),
        1
    );
}

#[test]
fn an_instance_is_no_trusted_proxy() {
    for (answer, is_fine) in [
        (AuthAnswer::Status(403), true),
        (AuthAnswer::None("refused".to_owned()), true),
        (AuthAnswer::Status(401), false),
        (AuthAnswer::Status(503), false),
    ] {
        let all = edge::auth(&AuthFacts {
            url: "http://172.17.0.1:9180/auth".to_owned(),
            here: AuthAnswer::Status(401),
            proxies: vec![],
            instance: Some(("alice".to_owned(), answer)),
            daemon_runs: true,
        });
        is(&all[0], Grade::Ok, "asks this host");
        assert_eq!(all.len() == 1, is_fine, "{all:?}");
        if let Some(found) = all.get(1) {
            is(
                found,
                Grade::Warning,
                "container alice, which is an instance",
            );
        }
    }
}

fn router(name: &str, enabled: bool, errors: &[&str]) -> RouterSeen {
    RouterSeen {
        name: name.to_owned(),
        enabled,
        errors: errors.iter().map(|it| (*it).to_owned()).collect(),
        provider: "docker".to_owned(),
    }
}

fn traefik(expected: &[&str], seen: Option<Seen<TraefikSeen>>) -> Vec<Finding> {
    edge::traefik(&TraefikFacts {
        api: seen.is_some().then(|| "http://127.0.0.1:8080".to_owned()),
        seen,
        expected: expected.iter().map(|it| (*it).to_owned()).collect(),
        stems: vec!["instanced-a-mcp-x-g".to_owned()],
        provider: "docker",
    })
}

#[test]
fn traefik_must_serve_what_runs() {
    let seen = |version: &str, routers: Vec<RouterSeen>| {
        Some(Ok(TraefikSeen {
            version: Some(version.to_owned()),
            routers,
        }))
    };
    is(
        &traefik(&[], None)[0],
        Grade::Note,
        "traefik.api is not set",
    );
    is(
        &traefik(&[], Some(Err(failure("refused"))))[0],
        Grade::Problem,
        "refused",
    );
    let ours = "instanced-a-mcp-x-g12";
    let well = traefik(&[ours], seen("3.7.15", vec![router(ours, true, &[])]));
    assert_eq!(well.len(), 1);
    is(&well[0], Grade::Ok, "Traefik 3.7.15 serves 1 router");
    let missing = traefik(&["a", "b", "c", "d", "e", "f"], seen("3.8.0", vec![]));
    is(
        &missing[0],
        Grade::Problem,
        "6 routers: a, b, c, d and 2 more",
    );
    let ill = traefik(
        &[ours],
        seen("3.7.15", vec![router(ours, false, &["no entry point"])]),
    );
    is(&ill[0], Grade::Problem, "x-g12@docker: no entry point");
    // Those of a manager `a-b`, and of an instance `x-g1`, are another's.
    let others = ["instanced-a-b-mcp-x-g1", "instanced-a-mcp-x-g1-g2"];
    let others = others.map(|name| router(name, false, &["no entry point"]));
    let others = [others.to_vec(), vec![router(ours, true, &[])]].concat();
    let well = traefik(&[ours], seen("3.7.15", others));
    assert_eq!(well.len(), 1, "{well:?}");
    is(&well[0], Grade::Ok, "serves 1 router");
    for (version, is_old) in [
        ("3.7.12", true),
        ("2.11.0", true),
        ("3.7.13", false),
        ("dev", false),
    ] {
        let found = traefik(&[], seen(version, vec![]));
        assert_eq!(found[0].grade == Grade::Warning, is_old, "{version}");
    }
}
