//! `/etc/crypttab` and `mdadm.conf`: the names a Linux gives to opened containers and to arrays.

/// A line of crypttab(5): the name below `/dev/mapper`, and the device with the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Container {
    /// The name below `/dev/mapper`.
    pub(super) name: Vec<u8>,
    /// `UUID=…` or `/dev/…`.
    pub(super) spec: Vec<u8>,
}

/// A line of mdadm.conf(5): a device, and the array's UUID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Array {
    /// `/dev/md0`, `/dev/md/home`.
    pub(super) device: Vec<u8>,
    /// The first eight hexadecimal digits of the UUID, in small letters.
    pub(super) uuid: String,
}

/// How many lines of each are looked at.
const MAX_LINES: usize = 1024;

fn words(line: &[u8]) -> Vec<&[u8]> {
    line.split(|byte| b" \t\r".contains(byte)).filter(|word| !word.is_empty()).collect()
}

/// The containers of a crypttab.
pub(super) fn containers(text: &[u8]) -> Vec<Container> {
    let line = |line: &[u8]| {
        let words = words(line);
        match words[..] {
            [name, spec, ..] if name[0] != b'#' => {
                Some(Container { name: super::fstab::unescape(name), spec: super::fstab::unescape(spec) })
            }
            _ => None,
        }
    };
    text.split(|&byte| byte == b'\n').filter_map(line).take(MAX_LINES).collect()
}

/// The arrays of an mdadm.conf.
pub(super) fn arrays(text: &[u8]) -> Vec<Array> {
    let line = |line: &[u8]| {
        let words = words(line);
        let [first, device, rest @ ..] = &words[..] else { return None };
        if !first.eq_ignore_ascii_case(b"array") {
            return None;
        }
        let uuid = rest.iter().find_map(|word| {
            let (name, value) = word.split_at_checked(5)?;
            name.eq_ignore_ascii_case(b"uuid=").then_some(value)
        })?;
        let digits: String =
            uuid.iter().filter(|byte| byte.is_ascii_hexdigit()).map(|&b| char::from(b)).collect();
        Some(Array { device: device.to_vec(), uuid: digits.get(..8)?.to_ascii_lowercase() })
    };
    text.split(|&byte| byte == b'\n').filter_map(line).take(MAX_LINES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_and_arrays_have_names() {
        let text = b"# <target> <source>\nsda3_crypt UUID=5b none luks,discard\n  data\t/dev/vg/lv\nbad\n";
        let found: Vec<_> = containers(text).into_iter().map(|one| (one.name, one.spec)).collect();
        assert_eq!(
            found,
            [(b"sda3_crypt".to_vec(), b"UUID=5b".to_vec()), (b"data".to_vec(), b"/dev/vg/lv".to_vec())]
        );
        let text = b"HOMEHOST <system>\nARRAY /dev/md/0  metadata=1.2 UUID=0A1b2c3d:1:2:3 name=host:0\nARRAY x\narray /dev/md1 uuid=12";
        let found: Vec<_> = arrays(text).into_iter().map(|one| (one.device, one.uuid)).collect();
        assert_eq!(found, [(b"/dev/md/0".to_vec(), "0a1b2c3d".to_owned())]);
    }
}
