//! Operations that say what they were asked.

use super::*;

/// Says what it was asked.
pub struct Echo {
    pub events: Events,
    /// What its instances have written, where it has any.
    pub written: Vec<LogLine>,
    pub ended: CancellationToken,
}

impl Echo {
    pub fn new(ended: &CancellationToken) -> Self {
        Self {
            events: Events::new(ended.clone()),
            written: Vec::new(),
            ended: ended.clone(),
        }
    }
}

fn echo(asked: impl std::fmt::Display) -> Value {
    json!({ "asked": asked.to_string() })
}

impl Operations for Echo {
    async fn health(&self) -> Outcome {
        Ok(echo("health"))
    }
    async fn tokens(&self, instance: Option<InstanceName>) -> Outcome {
        Ok(echo(format!("tokens {instance:?}")))
    }
    async fn issue_token(&self, asked: IssueToken) -> Outcome {
        Ok(echo(format!(
            "issue {} {} {:?}",
            asked.instance, asked.label, asked.expires
        )))
    }
    async fn revoke_token(&self, id: String) -> Outcome {
        Err(Problem::not_found(format!("there is no token {id:?}")).with_help("see `token list`"))
    }
    async fn rotate_token(&self, id: String, asked: RotateToken) -> Outcome {
        Ok(echo(format!("rotate {id} {:?}", asked.overlap)))
    }
    async fn issue_ticket(&self, name: InstanceName, asked: AskTicket) -> Outcome {
        Ok(echo(format!(
            "ticket {name} {} {}",
            asked.endpoint, asked.label
        )))
    }
    async fn reconcile(&self, asked: AskReconcile) -> Outcome {
        if asked.names.is_empty() {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        Ok(echo(format!(
            "reconcile {:?} {:?}",
            asked.names.len(),
            asked.confirm_prune
        )))
    }
    async fn order(&self, name: InstanceName, order: Order) -> Outcome {
        Ok(echo(format!("{order:?} {name}")))
    }
    async fn plan(&self) -> Outcome {
        Ok(json!({ "steps": vec!["x".repeat(1000); 500] }))
    }
    async fn metrics(&self) -> Result<String, Problem> {
        Ok("# EOF\n".to_owned())
    }
    fn events(&self) -> Events {
        self.events.clone()
    }
    async fn source(&self) -> Outcome {
        Ok(echo("source"))
    }
    async fn sync(&self) -> Outcome {
        Ok(echo("sync"))
    }
    async fn snapshot(&self) -> Outcome {
        Ok(echo("snapshot"))
    }
    async fn instances(&self, usage: AskUsage) -> Outcome {
        if !self.written.is_empty() {
            return Ok(logs::standing(&self.written));
        }
        Ok(echo(format!("instances {usage:?}")))
    }
    async fn history(&self, name: InstanceName) -> Outcome {
        Ok(echo(format!("history {name}")))
    }
    async fn log(&self, name: InstanceName, ask: AskLog) -> Result<Lines, Problem> {
        if name.as_str() == "ghost" {
            return Err(Problem::not_found("there is no instance `ghost`"));
        }
        if !self.written.is_empty() {
            return Ok(logs::of(self, &name, ask));
        }
        let line = |line: String| LogLine {
            instance: name.clone(),
            generation: 1,
            at: None,
            stream: LogStream::Stdout,
            line,
        };
        let lines = [
            Ok(line(format!("{:?}", ask.tail))),
            Ok(line("of two\nlines".to_owned())),
            Err(Problem::unavailable("the engine went away")),
        ];
        let lines = futures_util::stream::iter(lines);
        if ask.follow {
            return Ok(lines.take(1).chain(futures_util::stream::pending()).boxed());
        }
        Ok(lines.boxed())
    }
    async fn templates(&self) -> Outcome {
        Ok(echo("templates"))
    }
    async fn instance(&self, name: InstanceName) -> Outcome {
        Ok(echo(format!("instance {name}")))
    }
    async fn vnc_password(&self, name: InstanceName) -> Outcome {
        Ok(echo(format!("vnc {name}")))
    }
}
