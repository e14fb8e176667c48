//! Programs that are run to their end, and waiting for what takes a while.

use std::fmt;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long any program may take. Longer than every limit of the programs' own.
const PROGRAM_SECS: &str = "150";

/// What a program said, and how it ended.
pub struct Said {
    line: String,
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    /// Both streams, for a search of words.
    pub fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// It must have ended with this code.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// It must have said all of these words, on either stream; case does not matter.
    #[track_caller]
    pub fn expect_words(self, words: &[&str]) -> Self {
        let all = self.all().to_lowercase();
        for word in words {
            assert!(
                all.contains(&word.to_lowercase()),
                "it does not say `{word}`: {self}"
            );
        }
        self
    }

    /// Its standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self}"))
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line,
            code,
            stdout,
            stderr,
        } = self;
        write!(
            f,
            "`{line}` ended with {code:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}"
        )
    }
}

/// Runs a program to its end, under a limit of time.
pub fn run(program: impl AsRef<std::ffi::OsStr>, configure: impl FnOnce(&mut Command)) -> Said {
    let mut command = Command::new("timeout");
    command
        .args(["--kill-after=5", PROGRAM_SECS])
        .arg(program.as_ref())
        .stdin(Stdio::null());
    configure(&mut command);
    let words: Vec<_> = command
        .get_args()
        .skip(2)
        .map(|word| word.to_string_lossy())
        .collect();
    let line = words.join(" ");
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("`{line}` cannot be run: {error}"));
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Said {
        line,
        code: output.status.code(),
        stdout,
        stderr,
    }
}

/// Asks again and again until there is an answer; the last reason against it when there is none in time.
#[track_caller]
pub fn eventually<T>(
    what: &str,
    within: Duration,
    mut probe: impl FnMut() -> Result<T, String>,
) -> T {
    let began = Instant::now();
    loop {
        match probe() {
            Ok(answer) => return answer,
            Err(reason) if began.elapsed() > within => {
                panic!(
                    "not within {} s: {what}; at last: {reason}",
                    within.as_secs()
                )
            }
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// A named check: tells whether it held and how long it took, whatever the harness captures.
pub fn check<T>(scenario: &str, what: &str, body: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(body));
    let verdict = if result.is_ok() { "ok  " } else { "FAIL" };
    let secs = began.elapsed().as_secs_f32();
    // Straight to the stream: a person follows this, and a failure to write is none of the check.
    let _ = writeln!(
        std::io::stdout(),
        "{verdict} {scenario}: {what} ({secs:.1} s)"
    );
    result.unwrap_or_else(|panic| resume_unwind(panic))
}
