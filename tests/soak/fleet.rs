//! A fleet that is edited at random, and what must stand once the daemon has caught up.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

use super::engine::{Container, TINY};
use super::lab::{Lab, told};
use super::random::Random;

/// Few enough that names come back.
const NAMES: [&str; 10] = [
    "amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath", "islet", "jetty",
];
/// So many have manifests.
const MEMBERS: std::ops::RangeInclusive<usize> = 3..=7;

/// What a manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // Each is a choice of its own.
struct Wish {
    runs: bool,
    /// Made from the fleet's own template, whose changes reach it.
    templated: bool,
    /// Never the same twice.
    value: u64,
    memory_mib: u64,
    cpu_millis: u64,
    pids: u64,
    width: u64,
    owner: u64,
    secret: bool,
    volume: bool,
}

/// An instance with a manifest, or with what one left behind.
#[derive(Debug, Default)]
struct Member {
    /// What its manifest says; `None` when there is no manifest.
    wish: Option<Wish>,
    /// Its manifest cannot be used at the moment.
    broken: bool,
    /// Something that concerns its container changed since all had settled.
    touched: bool,
    /// Which container ran when all had settled, and since when.
    settled: Option<(String, String)>,
    /// It had a container then, running or not, and its manifest was not away since.
    stood: bool,
}

/// The fleet as a person has it in mind.
pub struct Fleet {
    members: BTreeMap<&'static str, Member>,
    /// What the fleet's own template says.
    template: u64,
    next: u64,
    /// One at a time, and gone while all settles.
    pub edits: Vec<String>,
}

impl Wish {
    fn text(&self, secret: &str) -> String {
        let mut text = if self.templated {
            "template: soak\n".to_owned()
        } else {
            format!("template: mcp-http\nimage: {TINY}\nentrypoint: [/tiny]\n")
        };
        let Self {
            value,
            memory_mib,
            cpu_millis,
            pids,
            width,
            owner,
            ..
        } = self;
        let cpus = format!("{}.{:03}", cpu_millis / 1_000, cpu_millis % 1_000);
        let _ = write!(
            text,
            "owner: owner-{owner}\n\
             env: {{ VALUE: \"{value}\" }}\n\
             screen: {{ width: {width}, height: 720, depth: 24 }}\n\
             resources: {{ memory: {memory_mib}MiB, cpus: {cpus}, pids: {pids} }}\n"
        );
        if self.secret {
            let _ = writeln!(text, "secrets: {{ key: {{ from_file: {secret} }} }}");
        }
        if self.volume {
            text.push_str("volumes: [ { name: data, target: /data } ]\n");
        }
        if !self.runs {
            text.push_str("state: stopped\n");
        }
        text
    }

    /// Whether a running container is made as this says.
    fn fits(&self, found: &Container, template: u64) -> Result<(), String> {
        let number = |n: u64| i64::try_from(n).expect("small");
        let mut wrong = Vec::new();
        let mut compare = |what: &str, wanted: String, is: String| {
            if wanted != is {
                wrong.push(format!("{what} is {is}, not {wanted}"));
            }
        };
        let env = |name| found.env(name).unwrap_or_else(|| "unset".to_owned());
        compare("VALUE", self.value.to_string(), env("VALUE"));
        compare("SCREEN_WIDTH", self.width.to_string(), env("SCREEN_WIDTH"));
        let wanted = if self.templated {
            template.to_string()
        } else {
            "unset".to_owned()
        };
        compare("TEMPLATE", wanted, env("TEMPLATE"));
        let limit = |field| found.limit(field).to_string();
        let memory = number(self.memory_mib << 20).to_string();
        compare("Memory", memory.clone(), limit("Memory"));
        compare("MemorySwap", memory, limit("MemorySwap"));
        compare(
            "cpus",
            self.cpu_millis.to_string(),
            found.cpu_millis().to_string(),
        );
        compare("PidsLimit", self.pids.to_string(), limit("PidsLimit"));
        compare("restart", "always".to_owned(), found.restart().to_owned());
        let volumes = found.volumes();
        let has = |end: &str| volumes.iter().any(|name| name.ends_with(end)).to_string();
        compare("secrets", self.secret.to_string(), has("-secrets"));
        compare("volume", self.volume.to_string(), has("-vol-data"));
        if wrong.is_empty() {
            return Ok(());
        }
        Err(format!("{}: {}", found.told(), wrong.join("; ")))
    }
}

fn write(lab: &Lab, name: &str, wish: &Wish) {
    let secret = lab.path("secrets/key").display().to_string();
    lab.save(name, &wish.text(&secret));
}

impl Fleet {
    /// A first fleet, written into the lab's source.
    pub fn begin(lab: &Lab, random: &mut Random) -> Self {
        let members = NAMES
            .into_iter()
            .map(|name| (name, Member::default()))
            .collect();
        let mut fleet = Self {
            members,
            template: 0,
            next: 0,
            edits: Vec::new(),
        };
        fleet.write_template(lab);
        for _ in 0..5 {
            fleet.create(lab, random);
        }
        fleet
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn say(&mut self, lab: &Lab, what: String) {
        lab.note(&what);
        self.edits.push(what);
    }

    fn write_template(&mut self, lab: &Lab) {
        self.template = self.number();
        let text = format!(
            "templates:\n  soak:\n    description: The soak's own\n    image: {TINY}\n    \
             entrypoint: [/tiny]\n    env: {{ TEMPLATE: \"{}\" }}\n    \
             endpoints: {{ mcp: {{ port: 8080, path: /mcp, auth: bearer }} }}\n",
            self.template
        );
        fs::write(lab.path("fleet/fleet.yaml"), text).expect("fleet.yaml");
    }

    /// The members with a manifest, or with one that can be used.
    fn named(&self, usable: bool) -> Vec<&'static str> {
        let named = self
            .members
            .iter()
            .filter(|(_, member)| member.wish.is_some() && !(usable && member.broken));
        named.map(|(name, _)| *name).collect()
    }

    fn vacant(&self) -> Vec<&'static str> {
        let vacant = self
            .members
            .iter()
            .filter(|(_, member)| member.wish.is_none());
        vacant.map(|(name, _)| *name).collect()
    }

    /// The names of all that shall answer clients.
    pub fn open(&self) -> BTreeSet<String> {
        self.named(true).into_iter().map(str::to_owned).collect()
    }

    /// Makes one edit. A removal only where `removing`: then at most one of them is asked for in a go.
    pub fn edit(&mut self, lab: &Lab, random: &mut Random, removing: &mut bool) {
        let (few, many) = (*MEMBERS.start(), *MEMBERS.end());
        let count = self.named(false).len();
        match random.below(100) {
            0..12 if count < many => self.create(lab, random),
            12..26 if count > few && !*removing => {
                *removing = true;
                self.remove(lab, random);
            }
            26..34 if !*removing => {
                *removing = true;
                self.rename(lab, random);
            }
            34..44 => self.break_one(lab, random),
            44..52 => self.restore(lab, random),
            52..60 => {
                self.write_template(lab);
                let template = self.template;
                self.say(lab, format!("template {template}"));
                for member in self.members.values_mut() {
                    member.touched |= member.wish.as_ref().is_some_and(|wish| wish.templated);
                }
            }
            _ => self.change(lab, random),
        }
    }

    fn create(&mut self, lab: &Lab, random: &mut Random) {
        let Some(&name) = random.one_of(&self.vacant()) else {
            return;
        };
        let wish = Wish {
            runs: !random.chance(10),
            templated: random.chance(60),
            value: self.number(),
            memory_mib: 24 + random.below(16),
            cpu_millis: 250 + 50 * random.below(10),
            pids: 32 + random.below(64),
            width: 800 + random.below(800),
            owner: random.below(1_000),
            secret: random.chance(40),
            volume: random.chance(30),
        };
        write(lab, name, &wish);
        self.say(lab, format!("create {name}: {wish:?}"));
        let member = self.member(name);
        *member = Member {
            wish: Some(wish),
            touched: true,
            ..Member::default()
        };
    }

    fn member(&mut self, name: &'static str) -> &mut Member {
        self.members.get_mut(name).expect("a known name")
    }

    fn change(&mut self, lab: &Lab, random: &mut Random) {
        let Some(&name) = random.one_of(&self.named(true)) else {
            return;
        };
        let value = self.number();
        let member = self.member(name);
        let wish = member.wish.as_mut().expect("it is named");
        let what = match random.below(6) {
            0 => {
                wish.value = value;
                "env"
            }
            1 => {
                wish.memory_mib = 24 + random.below(16);
                wish.cpu_millis = 250 + 50 * random.below(10);
                wish.pids = 32 + random.below(64);
                "limits"
            }
            2 => {
                wish.width = 800 + random.below(800);
                "screen"
            }
            3 => {
                wish.runs = !wish.runs;
                "state"
            }
            4 => {
                wish.owner = random.below(1_000);
                "owner"
            }
            _ => {
                wish.secret = !wish.secret;
                "secret"
            }
        };
        member.touched |= what != "owner";
        let wish = wish.clone();
        write(lab, name, &wish);
        self.say(lab, format!("change {what} of {name}: {wish:?}"));
    }

    fn remove(&mut self, lab: &Lab, random: &mut Random) {
        let Some(&name) = random.one_of(&self.named(false)) else {
            return;
        };
        fs::remove_file(lab.manifest(name)).expect("it was there");
        self.say(lab, format!("delete {name}"));
        *self.member(name) = Member::default();
    }

    fn rename(&mut self, lab: &Lab, random: &mut Random) {
        let Some(&from) = random.one_of(&self.named(true)) else {
            return;
        };
        let Some(&to) = random.one_of(&self.vacant()) else {
            return;
        };
        fs::rename(lab.manifest(from), lab.manifest(to)).expect("it was there");
        self.say(lab, format!("rename {from} to {to}"));
        let wish = self.member(from).wish.take();
        *self.member(from) = Member::default();
        *self.member(to) = Member {
            wish,
            touched: true,
            ..Member::default()
        };
    }

    fn break_one(&mut self, lab: &Lab, random: &mut Random) {
        let Some(&name) = random.one_of(&self.named(true)) else {
            return;
        };
        let broken = [
            "",
            "env: [",
            "scren: {}\n",
            "resources: { memory: lots }\n",
            "\u{0}",
        ];
        let text = random.one_of(&broken).expect("five");
        lab.save(name, text);
        self.say(lab, format!("break {name} with {text:?}"));
        self.member(name).broken = true;
    }

    fn restore(&mut self, lab: &Lab, random: &mut Random) {
        let broken = self.members.iter().filter(|(_, member)| member.broken);
        let broken: Vec<_> = broken.map(|(name, _)| *name).collect();
        let Some(&name) = random.one_of(&broken) else {
            return;
        };
        let member = self.member(name);
        member.broken = false;
        let wish = member.wish.clone().expect("it is named");
        write(lab, name, &wish);
        self.say(lab, format!("restore {name}"));
    }

    /// One that runs and whose manifest can be used, for a token.
    pub fn any_usable(&self, random: &mut Random) -> Option<&'static str> {
        random.one_of(&self.named(true)).copied()
    }

    /// Exactly the desired instances stand, each as its manifest says.
    pub fn stands(&self, lab: &Lab) -> Result<(), String> {
        let found = lab.containers()?;
        if let Some((name, all)) = found
            .iter()
            .find(|(name, _)| !self.members.contains_key(&***name))
        {
            return Err(format!("nobody asked for {name}: {}", told(all)));
        }
        for (name, member) in &self.members {
            let all = found.get(*name).map_or(&[][..], Vec::as_slice);
            self.member_stands(name, member, all)?;
        }
        Ok(())
    }

    fn member_stands(&self, name: &str, member: &Member, all: &[Container]) -> Result<(), String> {
        let Some(wish) = &member.wish else {
            return if all.is_empty() {
                Ok(())
            } else {
                Err(format!("{name} has no manifest, but {}", told(all)))
            };
        };
        if all.is_empty() && member.stood {
            return Err(format!("{name} stood and is gone, and nobody deleted it"));
        }
        let same = |(id, started): &(String, String)| {
            all.iter()
                .any(|c| c.running && c.id == *id && c.started_at == *started)
        };
        if let Some(settled) = member
            .settled
            .as_ref()
            .filter(|settled| !member.touched && !same(settled))
        {
            return Err(format!(
                "{name} was touched without a reason: {settled:?} is now {}",
                told(all)
            ));
        }
        if member.broken {
            return Ok(());
        }
        match (all, wish.runs) {
            ([one], true) if one.running => wish.fits(one, self.template),
            ([one], false) if !one.running && one.restart() == "no" => Ok(()),
            ([one], false) if !one.running => Err(format!(
                "{} would be revived: restart {}",
                one.told(),
                one.restart()
            )),
            ([], false) => Ok(()),
            (others, true) => Err(format!("{name} shall run; there is {}", told(others))),
            (others, false) => Err(format!(
                "{name} shall stand still; there is {}",
                told(others)
            )),
        }
    }

    /// Takes down how all stand now, for the next comparison.
    pub fn settle(&mut self, lab: &Lab) {
        let found = lab.containers().expect("they were just looked at");
        for (name, member) in &mut self.members {
            let all = found.get(*name).map_or(&[][..], Vec::as_slice);
            member.stood = !all.is_empty();
            // What is broken and was caught in the middle of a swap may yet be mended.
            let broken_midway = member.broken && member.touched;
            member.touched = broken_midway;
            member.settled = match all {
                [one] if one.running && !broken_midway => {
                    Some((one.id.clone(), one.started_at.clone()))
                }
                _ => None,
            };
        }
        self.edits.clear();
    }
}
