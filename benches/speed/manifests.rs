//! Manifests validated, from files in a directory to all that is wrong with them: what `instanced validate` does.

use std::fs;
use std::path::Path;
use std::time::Instant;

use instanced::daemon::ops::{self, Site};
use instanced::words::config::Config;

use crate::report::{Row, at, sorted};
use crate::tell;

const MANIFESTS: usize = 10_000;
const MOST_MS: f64 = 300.0;
const PEAK_MIB_MOST: f64 = 192.0;
const RUNS: usize = 15;
const COMMAND: &str = "benches/speed: manifests";

/// All rows.
pub fn measure(dir: &Path) -> Vec<Row> {
    tell(format_args!(
        "{MANIFESTS} manifests, validated {RUNS} times"
    ));
    let mut config = Config::default();
    config.source.dir = dir.join("instances.d");
    config.policy.max_instances = MANIFESTS;
    fs::create_dir_all(&config.source.dir).expect("the caller's directory");
    fs::write(dir.join("fleet.yaml"), FLEET).expect("the caller's directory");
    let mut bytes = 0;
    for number in 0..MANIFESTS {
        let text = manifest(number);
        bytes += text.len();
        let path = config.source.dir.join(format!("i{number:05}.yaml"));
        fs::write(path, text).expect("the caller's directory");
    }
    let site = Site {
        config,
        config_path: None,
        state: dir.join("state"),
        warnings: Vec::new(),
    };
    let now = "2026-11-27T12:00:00Z".parse().expect("a time");
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        let began = Instant::now();
        let checked = ops::validate(&site, &[], now).expect("there is something to read");
        runs.push(began.elapsed().as_secs_f64() * 1000.0);
        let desired = checked.desired;
        assert_eq!(desired.diagnostics, [], "manifests of our own");
        assert_eq!(desired.specs.len(), MANIFESTS);
    }
    let runs = sorted(runs.into_iter());
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    vec![
        Row {
            what: format!("{MANIFESTS} manifests validated"),
            figure: at(&runs, 0.5),
            unit: "ms",
            limit: Some(MOST_MS),
            command: COMMAND,
            note: format!(
                "median by the wall clock, on {processors} processors; {} runs, {:.0} to {:.0} ms; {} bytes each",
                runs.len(),
                runs[0],
                runs[runs.len() - 1],
                bytes / MANIFESTS,
            ),
        },
        Row {
            what: "memory for it, peak".to_owned(),
            figure: peak_mib(),
            unit: "MiB",
            limit: Some(PEAK_MIB_MOST),
            command: COMMAND,
            note: format!("VmHWM of the process after {RUNS} runs"),
        },
    ]
}

const FLEET: &str = "\
defaults: { resources: { memory: 512MiB } }
templates:
  metabase:
    image: acme/metabase-mcp:3
    required_env: [METABASE_URL]
    endpoints: { mcp: { port: 8080, path: /sse } }
";

/// Three of ten are of the fleet's own template, and say more than others.
fn manifest(number: usize) -> String {
    let team = number % 100;
    if number % 10 < 3 {
        return format!(
            "template: metabase\nowner: team-{team}@example.com\nenv:\n  METABASE_URL: https://m{number}.example.com\n\
             secrets:\n  api_key: {{ from_file: /run/secrets/k{number} }}\nlabels: {{ team: qa, cost: \"{team}\" }}\n\
             resources: {{ memory: 256MiB, cpus: 0.5, pids: 64 }}\nhealth: {{ path: /health, interval: 30s }}\n"
        );
    }
    format!(
        "# {number}\nowner: team-{team}@example.com\nscreen: {{ width: 1600, height: 900 }}\n\
         env: {{ LANG: C.UTF-8, TENANT: \"{number}\" }}\nvolumes:\n- name: profile\n  target: /home/mcp/profile\n"
    )
}

fn peak_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("/proc is there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.expect("status has numbers") / 1024.0
}
