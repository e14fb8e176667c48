use tokio::time::{Instant, sleep, sleep_until};

use super::*;
use crate::daemon::forward_auth::{EdgeTable, SharedTable};
use crate::daemon::tokens::Published;
use crate::decisions::access::{AccessPolicy, AuthRequest, Header, Verdict, Visitor, decide};
use crate::words::config::Config;
use crate::words::token::TokenHash;

struct Bench {
    dir: tempfile::TempDir,
    site: Site,
    table: SharedTable,
    access: Access,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.source.dir = dir.path().join("instances.d");
        std::fs::create_dir(&config.source.dir).unwrap();
        let site = Site {
            config,
            config_path: None,
            state: dir.path().join("state"),
            warnings: Vec::new(),
        };
        let store = Arc::new(Store::open(&site.state, Duration::from_secs(5)).unwrap());
        let (table, uses) = (SharedTable::default(), Arc::default());
        let policy = &site.config.policy;
        let guards = Guards::new(Arc::clone(&table), Arc::default(), uses, policy);
        let guards = Arc::new(guards);
        let made_by = Arc::clone(&guards);
        let publish = Box::new(move |published: Result<Published<'_>, &_>| {
            let published = published.unwrap();
            made_by.publish(Some(published.tokens), published.retired);
        });
        let tokens = Tokens::new(Arc::clone(&store), Arc::default(), publish);
        let access = Access::new(&site, guards, Arc::new(tokens), &store);
        Self {
            dir,
            site,
            table,
            access,
        }
    }

    /// The manifest of alice grants access to these tokens.
    fn grant(&self, tokens: &[&str]) {
        let grant = |token: &&str| {
            let hash = TokenHash::of(token.as_bytes());
            format!("\n- {{ label: {token}, hash: \"{hash}\" }}")
        };
        let grants: String = tokens.iter().map(grant).collect();
        let grants = if grants.is_empty() { " []" } else { &grants };
        let text = format!("template: mcp-http\nimage: x:1\ntokens:{grants}\n");
        std::fs::write(self.dir.path().join("instances.d/alice.yaml"), text).unwrap();
    }

    fn opens(&self, token: &str) -> bool {
        let table = self.table.load();
        let bearer = format!("Bearer {token}");
        let request = AuthRequest {
            peer: [127, 0, 0, 1].into(),
            method: "GET",
            path: "/auth/mcp-bearer-check",
            authorization: Header::Once(bearer.as_bytes()),
            forwarded_host: Header::Once(b"mcp-alice.mcp.localhost"),
            forwarded_uri: Header::Absent,
            origin: Header::Absent,
            visitor: &Visitor::default,
        };
        let policy = AccessPolicy::new(&["127.0.0.0/8".parse().unwrap()], &[]);
        let access = table.as_deref().map(EdgeTable::access);
        let verdict = decide(&policy, access, &request, jiff::Timestamp::now());
        matches!(verdict, Verdict::Allow(_))
    }

    /// A round whose look at the engine takes 10 s, and whose steps take 60 s.
    async fn hanging_round(&self) {
        let snapshot = round::read_source(&self.site).unwrap();
        let desired = round::desired(&snapshot, &self.site).unwrap();
        self.access.take_read(&snapshot, Some(&desired)).await;
        sleep(Duration::from_secs(10)).await;
        self.access.take_seen(&desired, &Observed::default()).await;
        sleep(Duration::from_secs(60)).await;
    }

    /// What happens at the sources while a round hangs. Says which tokens open, each second from then on.
    async fn during_a_round(&self, change: impl FnOnce(), tokens: [&str; 2]) -> Vec<[bool; 2]> {
        let began = Instant::now();
        let watch = async {
            sleep(Duration::from_millis(500)).await;
            change();
            let mut seen = Vec::new();
            for second in 1..60 {
                sleep_until(began + Duration::from_secs(second)).await;
                sleep(Duration::from_millis(600)).await;
                seen.push(tokens.map(|token| self.opens(token)));
            }
            seen
        };
        tokio::select! {
            seen = watch => seen,
            () = self.hanging_round() => unreachable!("it lasts longer"),
            () = self.access.follow() => unreachable!("it never returns"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_is_revoked_while_a_round_hangs_stays_revoked() {
    let bench = Bench::new();
    bench.grant(&["stays", "goes"]);
    let revoke = || bench.grant(&["stays"]);
    let seen = bench.during_a_round(revoke, ["stays", "goes"]).await;
    assert_eq!(seen[0], [true, true], "one read alone may be half a file");
    assert_eq!(seen[1..], vec![[true, false]; seen.len() - 1]);
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_is_reverted_while_its_first_round_hangs_is_gone() {
    let bench = Bench::new();
    bench.grant(&["stays"]);
    let snapshot = round::read_source(&bench.site).unwrap();
    let desired = round::desired(&snapshot, &bench.site).unwrap();
    bench.access.take_read(&snapshot, Some(&desired)).await;
    bench.grant(&["stays", "goes"]);
    let revert = || bench.grant(&["stays"]);
    let seen = bench.during_a_round(revert, ["stays", "goes"]).await;
    assert_eq!(seen[1..], vec![[true, false]; seen.len() - 1]);
}

#[tokio::test(start_paused = true)]
async fn a_fleet_yaml_that_breaks_while_a_round_hangs_opens_nothing_again() {
    let bench = Bench::new();
    bench.grant(&["stays", "goes"]);
    let revoke = || {
        bench.grant(&["stays"]);
        std::fs::write(bench.dir.path().join("fleet.yaml"), "defaults: [").unwrap();
    };
    let seen = bench.during_a_round(revoke, ["stays", "goes"]).await;
    assert_eq!(seen[1..], vec![[true, false]; seen.len() - 1]);
}
