//! What the manifests say: a handful of variants, resolved as the product resolves them, each once a thread.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use instanced::words::config::Config;
use instanced::words::desired::{Content, Desired, Snapshot, SourceFile};
use instanced::words::name::InstanceName;
use instanced::words::resolve::resolve;

use super::dice::Dice;

/// How many instances there can be.
pub const SLOTS: usize = 6;
/// An instance, by its place in [`NAMES`].
pub type Slot = usize;
/// One name begins as another one's containers do.
pub const NAMES: [&str; SLOTS] = ["a", "b", "c", "a-g1", "d", "e"];
/// Good and bad ones: of tag 3, nothing ever gets well.
pub const IMAGES: [&str; 6] = [
    "browser:1",
    "browser:2",
    "browser:3",
    "plain:1",
    "plain:2",
    "plain:3",
];

pub fn slot_of(name: &str) -> Option<Slot> {
    NAMES.iter().position(|known| *known == name)
}

pub fn name_of(slot: Slot) -> InstanceName {
    NAMES[slot].parse().expect("a name")
}

/// A file, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Paper {
    Absent,
    Says(Says),
    Broken,
    Blank,
    BeingWritten,
}

/// A sound manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Says {
    /// Made from the browser's template: its image has a health check, and it has a secret.
    pub browser: bool,
    /// From 1 to 3.
    pub tag: u8,
    /// Something that only a new container can change.
    pub look: u8,
    /// Something that changes in place.
    pub memory: u8,
    pub restart_no: bool,
    pub still: bool,
    pub start_first: bool,
    pub volume: bool,
    pub protect: bool,
    pub pull: &'static str,
}

impl Says {
    pub fn draw(dice: &mut Dice) -> Self {
        let says = Self {
            browser: dice.percent(70),
            tag: if dice.percent(6) { 3 } else { 1 },
            look: 1,
            memory: 1,
            restart_no: dice.percent(8),
            still: dice.percent(8),
            start_first: dice.percent(30),
            volume: dice.percent(30),
            protect: dice.percent(8),
            pull: dice.pick(&["missing", "missing", "missing", "always", "never"]),
        };
        says.sound()
    }

    /// Two generations must not write to one volume, and a new one that takes over must be seen to be well.
    fn sound(mut self) -> Self {
        if self.start_first {
            self.browser = true;
            self.volume = false;
        }
        self
    }

    /// The same, but for one field.
    pub fn edited(mut self, dice: &mut Dice) -> Self {
        match dice.below(16) {
            0..=3 => self.look = 1 + self.look % 3,
            4 | 5 => self.tag = dice.pick(&[1, 2, 2, 3]),
            6..=8 => self.memory = 1 + self.memory % 3,
            9 | 10 => self.still = !self.still,
            11 => self.start_first = !self.start_first,
            12 => self.protect = !self.protect,
            13 => self.restart_no = !self.restart_no,
            14 => self.volume = !self.volume,
            _ => self.browser = !self.browser,
        }
        self.sound()
    }

    pub fn image(&self) -> &'static str {
        let family = if self.browser { 0 } else { 3 };
        IMAGES[family + usize::from(self.tag) - 1]
    }

    pub fn memory_bytes(&self) -> u64 {
        u64::from(self.memory) * 256 * 1024 * 1024
    }

    fn text(&self) -> String {
        let Self {
            look, memory, pull, ..
        } = self;
        let template = if self.browser {
            "playwright-browser"
        } else {
            "mcp-http"
        };
        let memory = u32::from(*memory) * 256;
        let mut text = format!(
            "template: {template}\nimage: {}\nenv: {{ LOOK: '{look}' }}\nresources: {{ memory: {memory}MiB }}\n\
             pull: {pull}\n",
            self.image()
        );
        let mut say = |on: bool, line: &str| {
            if on {
                text.push_str(line);
                text.push('\n');
            }
        };
        say(self.restart_no, "restart: \"no\"");
        say(self.still, "state: stopped");
        say(self.start_first, "replace: start-first");
        say(
            self.volume,
            "volumes: [ { name: profile, target: /home/mcp/profile } ]",
        );
        say(self.protect, "protect: true");
        text
    }
}

/// The directory of manifests.
#[derive(Debug, Clone, Hash)]
pub struct Source {
    pub papers: [Paper; SLOTS],
    /// The directory cannot be listed.
    pub away: bool,
}

thread_local! {
    static RESOLVED: RefCell<HashMap<(Slot, Paper), Desired>> = RefCell::default();
    static CONFIG: Config = Config::default();
}

impl Source {
    pub fn is_empty(&self) -> bool {
        self.papers.iter().all(|paper| *paper == Paper::Absent)
    }

    fn revision(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.papers.hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }

    /// What is desired; `None` while the directory cannot be listed.
    pub fn desired(&self) -> Option<Desired> {
        if self.away {
            return None;
        }
        let mut all = Desired {
            revision: self.revision(),
            ..Desired::default()
        };
        for (slot, paper) in self.papers.iter().enumerate() {
            let content = match paper {
                Paper::Absent => continue,
                Paper::Says(says) => Content::Text(says.text()),
                Paper::Broken => Content::Text("screen: { width".to_owned()),
                Paper::Blank => Content::Text(String::new()),
                Paper::BeingWritten => Content::BeingWritten,
            };
            let one = RESOLVED.with_borrow_mut(|resolved| {
                let made = resolved.entry((slot, *paper));
                made.or_insert_with(|| resolve_one(slot, content)).clone()
            });
            all.specs.extend(one.specs);
            all.origins.extend(one.origins);
            all.unreadable.extend(one.unreadable);
        }
        Some(all)
    }
}

fn resolve_one(slot: Slot, content: Content) -> Desired {
    let stem = NAMES[slot].to_owned();
    let snapshot = Snapshot {
        commit: None,
        commit_issue: None,
        revision: String::new(),
        fleet: None,
        manifests: vec![SourceFile {
            path: format!("instances.d/{stem}.yaml"),
            stem,
            content,
        }],
    };
    let desired = CONFIG.with(|config| resolve(&snapshot, config));
    desired.expect("there is no fleet.yaml that could be wrong")
}
