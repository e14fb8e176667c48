//! What is promised of speed, measured from within: one row a figure, as JSON, on standard output.
//! `benches/speed.py` runs it and draws the rows.
//!
//! ```text
//! speed plan
//! speed manifests DIR
//! speed rounds|creates SOCKET IMAGE MANAGER NETWORK DIR
//! speed serve bare|INSTANCES [TLS_DIR]
//! ```
//!
//! The last one is no measurement: it serves what `benches/edge.py` asks.
//!
//! `DIR` is an empty directory of whoever calls. What is made on the engine carries the manager's label or is
//! the network, and is the caller's to remove.

mod bare;
mod creates;
mod edge;
mod lab;
mod manifests;
mod plans;
mod report;
mod rounds;

use std::io::Write as _;
use std::process::ExitCode;

use lab::Lab;
use report::Row;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args()
        .skip(1)
        // What `cargo bench` adds.
        .filter(|word| word != "--bench")
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let rows = match words[..] {
        ["serve", which] => {
            edge::serve(which, None);
            Vec::new()
        }
        ["serve", which, tls] => {
            edge::serve(which, Some(tls));
            Vec::new()
        }
        ["plan"] => plans::measure(),
        ["manifests", dir] => manifests::measure(dir.as_ref()),
        ["rounds", socket, image, manager, network, dir] => on_engine(
            Lab::new(socket, image, manager, network, dir),
            rounds::measure,
        ),
        ["creates", socket, image, manager, network, dir] => on_engine(
            Lab::new(socket, image, manager, network, dir),
            creates::measure,
        ),
        // Also what `cargo bench` does by itself: it knows of no engine.
        _ => {
            tell(
                "usage: speed plan | speed manifests DIR | speed rounds|creates SOCKET IMAGE MANAGER NETWORK DIR | speed serve bare|INSTANCES [TLS_DIR]; `make bench` runs it",
            );
            return ExitCode::SUCCESS;
        }
    };
    let mut out = std::io::stdout().lock();
    for row in rows {
        let text = serde_json::to_string(&row).expect("a row has string keys only");
        writeln!(out, "{text}").expect("somebody reads the rows");
    }
    ExitCode::SUCCESS
}

fn on_engine(lab: Lab, measure: impl AsyncFnOnce(Lab) -> Vec<Row>) -> Vec<Row> {
    // As the daemon's.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(measure(lab))
}

/// Says on the way what goes on.
pub fn tell(text: impl std::fmt::Display) {
    // Nobody need listen.
    let _ = writeln!(std::io::stderr(), "bench.sh: {text}");
}
