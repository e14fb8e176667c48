//! What `examples/observability` asks of our figures is there. Whether it is well formed is asked of Prometheus' own
//! program: `tests/consumers/prometheus.rs`.

#[path = "observability/figures.rs"]
mod figures;
#[path = "observability/query.rs"]
mod query;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use instanced::daemon::metrics::Form;
use serde_json::Value;

use query::{Query, Samples, samples};

fn example(name: &str) -> String {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/observability");
    fs::read_to_string(dir.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn dashboard() -> Value {
    serde_json::from_str(&example("dashboard.json")).expect("JSON")
}

/// Every query in it, with the labels that its legend shows.
fn queries(value: &Value, found: &mut Vec<(String, Vec<String>)>) {
    match value {
        Value::Object(map) => {
            if let Some(expr) = map.get("expr").and_then(Value::as_str) {
                let legend = map.get("legendFormat").and_then(Value::as_str);
                let shown = legend.unwrap_or_default().split("{{").skip(1);
                let shown = shown.filter_map(|rest| Some(rest.split_once("}}")?.0.trim().into()));
                found.push((expr.to_owned(), shown.collect()));
            }
            let variable = map.get("definition").and_then(Value::as_str);
            let inner = variable.and_then(|text| text.strip_prefix("label_values("));
            if let Some((metric, label)) = inner.and_then(|text| text.rsplit_once(", ")) {
                found.push((
                    metric.to_owned(),
                    vec![label.trim_end_matches(')').to_owned()],
                ));
            }
            map.values().for_each(|value| queries(value, found));
        }
        Value::Array(all) => all.iter().for_each(|value| queries(value, found)),
        _ => {}
    }
}

fn of_dashboard() -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    queries(&dashboard(), &mut found);
    assert!(found.len() > 30, "only {} queries were found", found.len());
    found
}

/// Every alert's name, query and what it says.
fn alerts() -> Vec<(String, String, String)> {
    let rules: serde_yaml::Value = serde_yaml::from_str(&example("rules.yml")).expect("YAML");
    let groups = rules["groups"].as_sequence().expect("groups");
    let rules = groups
        .iter()
        .flat_map(|group| group["rules"].as_sequence().expect("rules"));
    let text = |value: &serde_yaml::Value| value.as_str().expect("a text").to_owned();
    rules
        .map(|rule| {
            let told = &rule["annotations"];
            let said = format!("{} {}", text(&told["summary"]), text(&told["description"]));
            (text(&rule["alert"]), text(&rule["expr"]), said)
        })
        .collect()
}

fn wrong(queries: &[(String, Vec<String>)], samples: &Samples) -> Vec<String> {
    let wrong = queries.iter().flat_map(|(text, shown)| {
        let all = Query::parse(text).wrong(samples, shown).into_iter();
        all.map(move |why| format!("{text}: {why}"))
    });
    wrong.collect()
}

#[test]
fn what_the_dashboard_shows_is_there() {
    for form in [Form::OpenMetrics, Form::Text] {
        let wrong = wrong(&of_dashboard(), &samples(&figures::figures(form)));
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

#[test]
fn what_alerts_look_at_is_there() {
    let samples = samples(&figures::figures(Form::OpenMetrics));
    let alerts = alerts();
    assert!(alerts.len() > 10, "only {alerts:?}");
    let queries: Vec<_> = alerts
        .iter()
        .map(|(_, expr, said)| {
            let used = said.split("$labels.").skip(1);
            let used = used.filter_map(|rest| Some(rest.split([' ', '}', ')']).next()?.to_owned()));
            (expr.clone(), used.collect())
        })
        .collect();
    let wrong = wrong(&queries, &samples);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_figure_label_or_value_that_is_gone_is_noticed() {
    let all = samples(&figures::figures(Form::OpenMetrics));
    let mut queries = of_dashboard();
    queries.extend(alerts().into_iter().map(|(_, expr, _)| (expr, Vec::new())));
    let asked: BTreeSet<String> = queries
        .iter()
        .flat_map(|(text, _)| Query::parse(text).metrics)
        .map(|(name, _)| name)
        .filter(|name| all.contains_key(name))
        .collect();
    assert!(asked.len() > 20, "only {asked:?}");
    for name in &asked {
        let mut renamed = all.clone();
        let labels = renamed.remove(name).expect("it is there");
        renamed.insert(format!("{name}_now"), labels);
        assert!(!wrong(&queries, &renamed).is_empty(), "{name}");
    }
    let held = "instanced_instances_held";
    let mut renamed = all.clone();
    let labels = renamed.get_mut(held).expect("it is there");
    labels
        .get_mut("reason")
        .expect("its label")
        .remove("frozen");
    assert!(!wrong(&queries, &renamed).is_empty(), "a value");
    let mut renamed = all.clone();
    renamed.get_mut(held).expect("it is there").clear();
    assert!(!wrong(&queries, &renamed).is_empty(), "a label");
}

#[test]
fn every_alert_is_tested_and_says_what_to_type() {
    let tests = example("rules_test.yml");
    for (name, _, said) in alerts() {
        let fires = format!("alertname=\"{name}\"");
        assert!(tests.contains(&fires), "nothing tests {name}");
        assert!(
            said.contains("Type: ") || name == "InstancedAbsent",
            "{name} says: {said}"
        );
    }
}

#[test]
fn panels_have_a_place_each() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in panels {
        let title = &panel["title"];
        assert!(
            ids.insert(panel["id"].as_u64()),
            "two have the id of {title}"
        );
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| {
            let number = panel["gridPos"][key].as_u64();
            number.unwrap_or_else(|| panic!("{title} has no {key}"))
        });
        assert!(x + w <= 24, "{title} is wider than the page");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{title} lies over another, at {cell:?}");
        }
    }
}

#[test]
fn every_figure_is_documented() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/json.md");
    let docs = fs::read_to_string(docs).expect("docs/json.md");
    let figures = figures::figures(Form::Text);
    let families = figures
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "));
    let names: Vec<_> = families.filter_map(|line| line.split(' ').next()).collect();
    assert!(names.len() > 20, "only {names:?}");
    let missing: Vec<_> = names
        .iter()
        .filter(|name| !docs.contains(&format!("`{name}`")))
        .collect();
    assert!(missing.is_empty(), "docs/json.md lacks {missing:?}");
}
