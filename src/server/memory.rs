//! How much memory this process may use, and how much of it may be kept for peers.

use std::path::Path;

/// What the process needs anyway: its program, series, logs, and pages for scrapers.
const OWN_BYTES: usize = 24 << 20;

/// What may be kept for peers where nothing limits memory.
const UNLIMITED_BYTES: usize = 256 << 20;

/// Less would refuse single requests.
const LEAST_BYTES: usize = 8 << 20;

/// Bytes that may be kept for peers. Half of what the limit leaves: the kernel's buffers of their
/// sockets count towards the limit, and so does what the allocator keeps.
pub(super) fn affordable_bytes(limit: Option<usize>) -> usize {
    limit.map_or(UNLIMITED_BYTES, |limit| (limit.saturating_sub(OWN_BYTES) / 2).max(LEAST_BYTES))
}

/// The memory limit of the control group that this process is in, in bytes, if there is one.
pub(super) fn limit_bytes() -> Option<usize> {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    limit_of(&read(Path::new("/proc/self/cgroup"))?, read)
}

/// The smallest limit of `groups` (`/proc/self/cgroup`) and of those around them; version 2 of
/// control groups, and version 1.
fn limit_of(groups: &str, read: impl Fn(&Path) -> Option<String>) -> Option<usize> {
    let root = Path::new("/sys/fs/cgroup");
    let mut least = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let (root, file) = if controllers.is_empty() {
            (root.to_owned(), "memory.max")
        } else if controllers.split(',').any(|name| name == "memory") {
            (root.join("memory"), "memory.limit_in_bytes")
        } else {
            continue;
        };
        // Within a container the path may be that of the host; then the root is its own.
        for group in Path::new(path.trim_start_matches('/')).ancestors() {
            let limit = read(&root.join(group).join(file)).and_then(|text| limit(&text));
            least = [least, limit].into_iter().flatten().min();
        }
    }
    least
}

/// `max`, or version 1's largest number, is none.
fn limit(text: &str) -> Option<usize> {
    const NONE: usize = 1 << 60;
    text.trim().parse().ok().filter(|bytes| *bytes < NONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_limit_around_a_process_counts() {
        let v1 = "5:devices:/a\n4:cpu,memory:/pods/a\n0::/\n";
        let hybrid = "4:memory:/\n0::/unified\n";
        for (groups, files, expected) in [
            ("0::/\n", &[("memory.max", "134217728\n")][..], Some(128 << 20)),
            ("0::/\n", &[("memory.max", "max\n")], None),
            ("0::/\n", &[], None),
            ("0::/a/b\n", &[("a/memory.max", "1000"), ("a/b/memory.max", "2000")], Some(1000)),
            ("0::/a/b\n", &[("a/memory.max", "3000"), ("a/b/memory.max", "2000")], Some(2000)),
            (v1, &[("memory/pods/a/memory.limit_in_bytes", "5000")], Some(5000)),
            // The path is the host's.
            (v1, &[("memory/memory.limit_in_bytes", "6000")], Some(6000)),
            (v1, &[("memory/memory.limit_in_bytes", "9223372036854771712")], None),
            (hybrid, &[("memory/memory.limit_in_bytes", "7000")], Some(7000)),
            ("", &[("memory.max", "1000")], None),
            ("nonsense", &[("memory.max", "1000")], None),
        ] {
            let read = |path: &Path| {
                let name = path.strip_prefix("/sys/fs/cgroup").ok()?.to_str()?;
                let found = files.iter().find(|(file, _)| *file == name)?;
                Some(found.1.to_owned())
            };
            assert_eq!(limit_of(groups, read), expected, "{groups:?} {files:?}");
        }
    }

    #[test]
    fn half_of_what_the_limit_leaves_may_be_kept() {
        assert_eq!(affordable_bytes(Some(128 << 20)), 52 << 20);
        assert_eq!(affordable_bytes(Some(1 << 20)), 8 << 20);
        assert_eq!(affordable_bytes(None), 256 << 20);
    }
}
