//! Links that people open.

use super::lab::Lab;

/// A link, as `connect --open` prints it.
pub struct Link(pub String);

impl Link {
    pub fn ask(lab: &Lab, instance: &str, options: &[&str]) -> Self {
        let words = [&["connect", instance, "--open"], options].concat();
        let said = lab.instanced(&words).expect_code(0);
        Self(said.stdout.trim_end().to_owned())
    }

    pub fn parts(&self) -> (&str, &str) {
        self.0.split_once('#').unwrap_or((&self.0, ""))
    }

    /// The path and query, as a server sees it.
    pub fn path(&self) -> &str {
        let (address, _) = self.parts();
        let host = address.find("//").expect("a URL") + 2;
        &address[host + address[host..].find('/').expect("a path")..]
    }

    pub fn ticket(&self) -> &str {
        let (address, _) = self.parts();
        address.split_once("ticket=").expect("a ticket").1
    }

    pub fn password(&self) -> &str {
        let (_, told) = self.parts();
        told.split_once("password=").expect("a password").1
    }
}
