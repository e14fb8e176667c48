//! `instanced doctor` asks the real Traefik, and the real daemon as Traefik asks it.

use std::fs;

use serde_json::Value;

use super::lab::{Daemon, Lab, Wishes};

fn found<'a>(checks: &'a [Value], check: &str) -> Vec<(&'a str, &'a str)> {
    let ours = checks.iter().filter(|it| it["check"] == check);
    let told = ours.map(|it| (it["grade"].as_str().unwrap(), it["found"].as_str().unwrap()));
    told.collect()
}

#[test]
fn what_traefik_serves_and_what_it_cannot_serve_is_told() {
    let lab = Lab::new();
    let _daemon = Daemon::start(&lab, &[]);
    let routes = lab.routes();
    let _edge = lab.edge_with(&routes);
    let checks = lab.doctor();
    let [("ok", served)] = found(&checks, "traefik")[..] else {
        panic!("{checks:#?}");
    };
    // Two endpoints of each of two instances. The third has no manifest here: it may be another manager's.
    assert!(
        served.starts_with("Traefik 3.") && served.ends_with("serves 4 routers"),
        "{served}"
    );
    let [("ok", asked)] = found(&checks, "auth")[..] else {
        panic!("{checks:#?}");
    };
    assert!(asked.contains(&lab.auth.to_string()), "{asked}");

    let (file, text) = &routes[0];
    let broken = text.replace("security-headers@file", "nobody-s@file");
    assert_ne!(*text, broken);
    fs::write(lab.path("dynamic").join(file), broken).unwrap();
    lab.eventually("the routers are broken", || {
        let checks = lab.doctor();
        let told = found(&checks, "traefik");
        let is_told = told.iter().any(|(grade, words)| {
            *grade == "problem" && words.contains("@file: ") && words.contains("nobody-s")
        });
        is_told.then_some(())
    });
}

#[test]
fn without_traefik_its_api_is_a_problem_and_the_listener_is_none() {
    let lab = Lab::with(Wishes {
        tls: true,
        ..Wishes::default()
    });
    let _daemon = Daemon::start(&lab, &[]);
    let checks = lab.doctor();
    let [("problem", told)] = found(&checks, "traefik")[..] else {
        panic!("{checks:#?}");
    };
    assert!(told.contains("does not tell what Traefik serves"), "{told}");
    let [("ok", asked)] = found(&checks, "auth")[..] else {
        panic!("{checks:#?}");
    };
    assert!(asked.starts_with("https://"), "{asked}");
}
