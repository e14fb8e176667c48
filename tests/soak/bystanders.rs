//! Foreign things beside the fleet, some of which look much like it. Nothing may ever happen to them.

use super::engine::{Engine, TINY};

/// Containers, volumes and a network that are not ours.
pub struct Bystanders {
    engine: Engine,
    pub containers: Vec<String>,
    pub volumes: Vec<String>,
    network: String,
    /// What of each must never change, as `docker inspect` has it.
    before: Vec<(String, String)>,
    /// What may change when the engine itself restarts.
    started: Vec<(String, String)>,
}

impl Bystanders {
    /// Puts them beside the fleet of `manager`.
    pub fn place(engine: &Engine, manager: &str) -> Self {
        let network = format!("{manager}-foreign");
        engine.must(&["network", "create", &network]);
        let volumes = vec![
            format!("{manager}-foreign-data"),
            // Named as a generation's secrets and an instance's data would be, but without a label.
            format!("instanced-{manager}-zz-g1-secrets"),
            format!("instanced-{manager}-zz-vol-data"),
        ];
        for volume in &volumes {
            engine.must(&["volume", "create", volume]);
        }
        let other = format!("instanced.manager={manager}-other");
        let near = format!("{manager}-foreign-near");
        let ordinary = format!("{manager}-foreign-plain");
        let alike = format!("instanced-{manager}-zz-g1");
        let labelled = ["instanced.instance=amber", "instanced.generation=7"];
        let data = format!("{}:/data", volumes[0]);
        let place = |name: &str, more: &[&str]| {
            let base = [
                "run",
                "--detach",
                "--restart",
                "always",
                "--network",
                &network,
            ];
            engine.must(&[&base[..], &["--name", name], more, &[TINY]].concat());
            engine.must(&["container", "inspect", "--format", "{{.Id}}", name])
        };
        // Another manager's, one that is nobody's, and one with a name as ours would have.
        let mut near_labels = vec!["--label", other.as_str()];
        near_labels.extend(labelled.iter().flat_map(|label| ["--label", label]));
        let containers = vec![
            place(&near, &near_labels),
            place(&ordinary, &["--volume", &data]),
            place(&alike, &[]),
        ];
        engine.must(&["exec", &containers[1], "/tiny", "write", "/data/kept"]);
        let mut placed = Self {
            engine: engine.clone(),
            containers,
            volumes,
            network,
            before: Vec::new(),
            started: Vec::new(),
        };
        placed.before = placed.look();
        placed.started = placed.starts();
        placed
    }

    fn look(&self) -> Vec<(String, String)> {
        let mut seen = Vec::new();
        let mut ask = |what: &str, kind: &str, name: &str, format: &str| {
            let said = self
                .engine
                .docker(&[kind, "inspect", "--format", format, name]);
            seen.push((format!("{what} {name}"), said.all()));
        };
        for id in &self.containers {
            let format = "{{.Id}} {{.Name}} {{.Created}} {{.HostConfig.RestartPolicy}} {{json .Config}} {{json .Mounts}} {{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}";
            ask("container", "container", id, format);
        }
        for volume in &self.volumes {
            ask(
                "volume",
                "volume",
                volume,
                "{{.Name}} {{.CreatedAt}} {{json .Labels}}",
            );
        }
        ask("network", "network", &self.network, "{{.Id}} {{.Created}}");
        seen
    }

    fn starts(&self) -> Vec<(String, String)> {
        let look = |id: &String| {
            let format = "{{.State.Running}} {{.State.StartedAt}} {{.RestartCount}}";
            let said = self
                .engine
                .docker(&["container", "inspect", "--format", format, id]);
            (id.clone(), said.all())
        };
        self.containers.iter().map(look).collect()
    }

    /// The engine restarts its containers by itself now: that they ran all the time is no longer asked.
    pub fn expect_restarts(&mut self) {
        self.started.clear();
    }

    /// All of them stand as they were put there.
    pub fn untouched(&self) -> Result<(), String> {
        let mut pairs: Vec<_> = self.before.iter().cloned().zip(self.look()).collect();
        pairs.extend(self.started.iter().cloned().zip(self.starts()));
        for ((what, before), (_, now)) in pairs {
            if before != now {
                return Err(format!(
                    "foreign {what} was touched: it was\n{before}and is\n{now}"
                ));
            }
        }
        if self.started.is_empty() {
            return Ok(());
        }
        let kept = self
            .engine
            .docker(&["exec", &self.containers[1], "/tiny", "cat", "/data/kept"]);
        if kept.stdout == "written\n" {
            Ok(())
        } else {
            Err(format!("foreign data is gone: {kept}"))
        }
    }

    /// Takes them away again.
    pub fn clear(&self, manager: &str) {
        self.engine.clear(manager, &self.containers, &self.volumes);
        self.engine.docker(&["network", "rm", &self.network]);
    }
}
