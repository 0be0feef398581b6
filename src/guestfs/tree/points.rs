//! The skeleton of a tree: every path at which a volume stands, and the folders between them.
//!
//! Points form a trie of names with the root as point 0. A point at which a volume stands is shown as the root of that
//! volume; one that is merely on the way is shown as the folder of the volume above it, where there is one, and as a
//! synthetic, read-only folder where not.

/// The folder at the root that holds the volumes no fstab names.
pub(crate) const VOLUMES: &[u8] = b"@volumes";

/// One path of the skeleton.
#[derive(Debug)]
pub(crate) struct Point {
    /// Its last name; empty for the root.
    pub(crate) name: Vec<u8>,
    /// The path, `/` for the root.
    pub(crate) path: Vec<u8>,
    /// The points right below, in the order they are shown: by name, `@volumes` last.
    pub(crate) children: Vec<usize>,
    /// The view that stands here.
    pub(crate) view: Option<usize>,
}

/// All points.
#[derive(Debug)]
pub(crate) struct Points {
    all: Vec<Point>,
}

impl Points {
    /// Only the root.
    pub(crate) fn new() -> Self {
        Points {
            all: vec![Point { name: Vec::new(), path: b"/".to_vec(), children: Vec::new(), view: None }],
        }
    }

    /// The point of `path`, made with all above it where it is not there. Empty components are left out; nothing else
    /// is interpreted.
    pub(crate) fn at(&mut self, path: &[u8]) -> usize {
        let mut here = 0;
        for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            here = match self.child(here, name) {
                Some(child) => child,
                None => self.add(here, name),
            };
        }
        here
    }

    fn add(&mut self, parent: usize, name: &[u8]) -> usize {
        let index = self.all.len();
        let above = &self.all[parent].path;
        let mut path = if above == b"/" { Vec::new() } else { above.clone() };
        path.push(b'/');
        path.extend_from_slice(name);
        self.all.push(Point { name: name.to_vec(), path, children: Vec::new(), view: None });
        let key = |index: usize| {
            let point = &self.all[index];
            (parent == 0 && point.name == VOLUMES, &point.name)
        };
        let position = self.all[parent].children.partition_point(|&child| key(child) < key(index));
        self.all[parent].children.insert(position, index);
        index
    }

    /// Puts a view at a point.
    pub(crate) fn stand(&mut self, point: usize, view: usize) {
        self.all[point].view = Some(view);
    }

    /// The point with this number.
    pub(crate) fn get(&self, index: usize) -> Option<&Point> {
        self.all.get(index)
    }

    /// The child of a point under exactly this name.
    pub(crate) fn child(&self, parent: usize, name: &[u8]) -> Option<usize> {
        let children = &self.all.get(parent)?.children;
        children.iter().copied().find(|&child| self.all[child].name == name)
    }

    /// The child of a point under this name, where small and capital ASCII letters are the same; an exact match first.
    pub(crate) fn child_ignoring_case(&self, parent: usize, name: &[u8]) -> Option<usize> {
        let children = &self.all.get(parent)?.children;
        self.child(parent, name).or_else(|| {
            children.iter().copied().find(|&child| self.all[child].name.eq_ignore_ascii_case(name))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_come_last_and_paths_are_made_once() {
        let mut points = Points::new();
        let deep = points.at(b"/srv//a/b");
        points.at(b"/@volumes/disk0/part1");
        points.at(b"/zzz");
        points.at(b"/boot");
        assert_eq!(points.at(b"srv/a/b/"), deep);
        let names: Vec<_> = points
            .get(0)
            .unwrap()
            .children
            .iter()
            .map(|&child| points.get(child).unwrap().name.clone())
            .collect();
        assert_eq!(names, [&b"boot"[..], b"srv", b"zzz", b"@volumes"]);
        assert_eq!(points.get(deep).unwrap().path, b"/srv/a/b");
        assert_eq!(points.child(0, b"SRV"), None);
        assert_eq!(points.child_ignoring_case(0, b"SRV"), points.child(0, b"srv"));
    }
}
