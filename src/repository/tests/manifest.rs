//! Hash manifests against a model of real bytes, and against damage.

use block::{Baseline, GRANULE, Granule, Ledger};
use proptest::prelude::*;
use repository::manifest::{Run, RunKind};
use repository::{Bottom, ChainBaseline, ChainLookup, Identity, LocalRepository, Manifest, RelPath};
use std::collections::BTreeMap;
use tempfile::TempDir;

fn repository() -> (TempDir, LocalRepository) {
    let root = tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap());
    let identity = Identity {
        id: "repo-test".parse().unwrap(),
        name: "test".parse().unwrap(),
        created_at: "2025-10-06T12:00:00Z".parse().unwrap(),
    };
    let repository = LocalRepository::create(root.path(), identity).unwrap();
    repository.prepare(&"vm".parse().unwrap(), model::DiskIndex(0)).unwrap();
    (root, repository)
}

fn path(name: &str) -> RelPath {
    RelPath::new(format!("vm/disk-0/{name}.b3")).unwrap()
}

/// What one layer stores: the byte that fills a granule, 0 for explicit zeros.
#[derive(Debug, Clone)]
struct Layer {
    size: u64,
    stored: BTreeMap<u64, u8>,
}

fn length_at(size: u64, granule: u64) -> u64 {
    size.saturating_sub(granule * GRANULE).min(GRANULE)
}

/// The bytes of a granule as QEMU reads them: the topmost layer that stores it, seen only as far as every
/// layer above reaches, and zeros behind that.
fn bytes(layers: &[Layer], view: u64, granule: u64) -> Vec<u8> {
    let mut reach = length_at(view, granule);
    let mut content = vec![0; reach as usize];
    for layer in layers {
        reach = reach.min(length_at(layer.size, granule));
        if let Some(fill) = layer.stored.get(&granule) {
            content[..reach as usize].fill(*fill);
            break;
        }
    }
    content
}

/// True where a change of size cuts this granule in two between the view and the layer that stores it.
fn is_cut(layers: &[Layer], view: u64, granule: u64) -> bool {
    let length = length_at(view, granule);
    for layer in layers {
        if length_at(layer.size, granule) != length {
            return true;
        }
        if layer.stored.contains_key(&granule) {
            return false;
        }
    }
    false
}

fn granule_of(layer: &Layer, granule: u64) -> Granule {
    match layer.stored.get(&granule) {
        None => Granule::Unknown,
        Some(0) => Granule::Zero,
        Some(fill) => {
            let bytes = vec![*fill; length_at(layer.size, granule) as usize];
            Granule::Hash(*blake3::hash(&bytes).as_bytes())
        }
    }
}

/// Writes a layer's manifest in pieces of these lengths, leaving out pieces where nothing is stored.
fn write(repository: &LocalRepository, name: &str, layer: &Layer, pieces: &[u64]) -> Manifest {
    let mut writer = repository.create_manifest(&path(name), layer.size).unwrap();
    let total = layer.size.div_ceil(GRANULE);
    let mut pieces = pieces.iter().cycle();
    let mut first = 0;
    while first < total {
        let count = (*pieces.next().unwrap()).clamp(1, total - first);
        let granules: Vec<Granule> = (first..first + count).map(|g| granule_of(layer, g)).collect();
        if granules.iter().any(|granule| *granule != Granule::Unknown) {
            writer.record(first, &granules).unwrap();
        }
        first += count;
    }
    let summary = writer.finish().unwrap();
    let mut transaction = repository.begin().unwrap();
    transaction.publish(&path(name)).unwrap();
    transaction.commit().unwrap();
    let manifest = repository.open_manifest(&path(name)).unwrap();
    assert_eq!(manifest.verify().unwrap(), summary);
    assert_eq!(manifest.blake3(), summary.blake3);
    assert_eq!(summary.granules, layer.stored.values().filter(|fill| **fill != 0).count() as u64);
    assert_eq!(summary.zero_granules, layer.stored.values().filter(|fill| **fill == 0).count() as u64);
    manifest
}

fn layer() -> impl Strategy<Value = Layer> {
    let size = prop_oneof![
        (0u64..6 * GRANULE),
        (0u64..6).prop_map(|granules| granules * GRANULE),
        Just(3 * GRANULE + 512),
        Just(3 * GRANULE + 1024),
    ];
    (size, proptest::collection::btree_map(0u64..6, 0u8..4, 0..6)).prop_map(|(size, mut stored)| {
        stored.retain(|granule, _| granule * GRANULE < size);
        Layer { size, stored }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_chain_tells_what_its_images_read_as(
        layers in proptest::collection::vec(layer(), 1..5),
        view in prop_oneof![Just(None), (0u64..7 * GRANULE).prop_map(Some)],
        full in any::<bool>(),
        pieces in proptest::collection::vec(1u64..4, 1..5),
        steps in proptest::collection::vec((0u64..3, 1usize..4), 1..8),
    ) {
        let (_root, repository) = repository();
        // The topmost first.
        let manifests: Vec<Manifest> = layers
            .iter()
            .enumerate()
            .map(|(at, layer)| write(&repository, &format!("layer-{at}"), layer, &pieces))
            .collect();
        let view = view.unwrap_or(layers[0].size);
        let bottom = if full { Bottom::Full } else { Bottom::Partial };
        let mut chain = ChainBaseline::new(manifests, bottom, view);
        let mut first = 0;
        for (skip, count) in steps {
            first += skip;
            let mut out = vec![Granule::Unknown; count];
            chain.next(first, &mut out).unwrap();
            for (granule, found) in (first..).zip(&out) {
                let content = bytes(&layers, view, granule);
                let stored = layers.iter().any(|layer| layer.stored.contains_key(&granule));
                let behind = layers.iter().map(|layer| layer.size).min().unwrap_or(0).min(view) <= granule * GRANULE;
                match found {
                    Granule::Zero => prop_assert!(content.iter().all(|b| *b == 0), "granule {granule} is no zero"),
                    Granule::Hash(hash) => {
                        prop_assert!(blake3::hash(&content) == *hash, "granule {granule} has another hash");
                    }
                    Granule::Unknown => prop_assert!(
                        is_cut(&layers, view, granule) || (!full && !stored && !behind),
                        "granule {granule} is unknown for no reason"
                    ),
                }
                if granule * GRANULE >= view {
                    prop_assert_eq!(found, &Granule::Zero);
                }
            }
            first += count as u64;
        }
    }

    #[test]
    fn damaged_manifests_are_errors_and_never_more(
        layer in layer(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), 1u8..=255), 1..4),
        cut in prop_oneof![Just(None), any::<prop::sample::Index>().prop_map(Some)],
    ) {
        let (root, repository) = repository();
        let manifest = write(&repository, "x", &layer, &[3]);
        let file = root.path().join(path("x").as_str());
        let whole = std::fs::read(&file).unwrap();
        drop(manifest);
        let mut bytes = whole.clone();
        for (at, flip) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
        }
        bytes.truncate(cut.map_or(bytes.len(), |at| at.index(bytes.len())));
        std::fs::write(&file, &bytes).unwrap();
        if let Ok(manifest) = repository.open_manifest(&path("x")) {
            // Whatever a reader that does not verify gets, it ends and does not panic.
            let _ = manifest.runs().take(100).count();
            let _ = manifest.baseline().next(0, &mut [Granule::Unknown; 8]);
            prop_assert_eq!(manifest.verify().is_ok(), bytes == whole);
        }
    }
}

#[test]
fn runs_are_merged_and_long_ones_split() {
    let (_root, repository) = repository();
    let mut writer = repository.create_manifest(&path("x"), 40_000 * GRANULE + 7).unwrap();
    for first in (0..20_000).step_by(16) {
        writer.record(first, &[Granule::Hash([1; 32]); 16]).unwrap();
    }
    for first in (20_000..40_000).step_by(16) {
        writer.record(first, &[Granule::Zero; 16]).unwrap();
    }
    writer.record(40_000, &[Granule::Hash([2; 32])]).unwrap();
    writer.finish().unwrap();
    let file = repository.open_file(&path("x").partial()).unwrap();
    let manifest = Manifest::open(file, "x").unwrap();
    let runs: Vec<Run> = manifest.runs().collect::<Result<_, _>>().unwrap();
    let data = |first, count| Run { first, count, kind: RunKind::Data };
    let zeros = Run { first: 20_000, count: 20_000, kind: RunKind::Zero };
    assert_eq!(runs, [data(0, 8192), data(8192, 8192), data(16_384, 3616), zeros, data(40_000, 1)]);

    // Jumping far reads only what is asked for.
    let mut baseline = manifest.baseline();
    let mut out = [Granule::Unknown; 2];
    baseline.next(8191, &mut out).unwrap();
    assert_eq!(out, [Granule::Hash([1; 32]); 2]);
    baseline.next(39_999, &mut out).unwrap();
    assert_eq!(out, [Granule::Zero, Granule::Hash([2; 32])]);
}

/// A stream asked once from the beginning: what a look-up anywhere must agree with.
fn streamed(manifests: &[Manifest], bottom: Bottom, view: u64, total: usize) -> Vec<Granule> {
    let mut out = vec![Granule::Unknown; total];
    ChainBaseline::new(manifests.to_vec(), bottom, view).next(0, &mut out).unwrap();
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_look_up_anywhere_is_what_the_stream_says(
        layers in proptest::collection::vec(layer(), 1..5),
        view in 0u64..7 * GRANULE,
        full in any::<bool>(),
        questions in proptest::collection::vec((0u64..8, 1usize..4), 1..12),
    ) {
        let (_root, repository) = repository();
        let manifests: Vec<Manifest> = layers
            .iter()
            .enumerate()
            .map(|(at, layer)| write(&repository, &format!("layer-{at}"), layer, &[1, 2]))
            .collect();
        let bottom = if full { Bottom::Full } else { Bottom::Partial };
        let all = streamed(&manifests, bottom, view, 12);
        let lookup = ChainLookup::new(manifests, bottom, view);
        for (first, count) in questions {
            let mut out = vec![Granule::Unknown; count];
            lookup.granules(first, &mut out).unwrap();
            prop_assert_eq!(&out[..], &all[first as usize..first as usize + count], "at {}", first);
        }
    }
}

#[test]
fn a_look_up_jumps_in_a_manifest_of_very_many_runs() {
    // More runs than there are marks at their first distance: some of them have to go.
    const RUNS: u64 = 300_000;
    let (_root, repository) = repository();
    let mut writer = repository.create_manifest(&path("x"), 2 * RUNS * GRANULE).unwrap();
    for run in 0..RUNS {
        let granule = if run % 7 == 0 {
            Granule::Hash(*blake3::hash(&run.to_le_bytes()).as_bytes())
        } else {
            Granule::Zero
        };
        writer.record(2 * run, &[granule]).unwrap();
    }
    writer.finish().unwrap();
    let manifest = Manifest::open(repository.open_file(&path("x").partial()).unwrap(), "x").unwrap();
    let all = streamed(
        std::slice::from_ref(&manifest),
        Bottom::Partial,
        manifest.virtual_size(),
        2 * RUNS as usize,
    );
    let lookup = ChainLookup::new(vec![manifest], Bottom::Partial, 2 * RUNS * GRANULE);
    let mut state = 7u64;
    let mut near = 0;
    for question in 0..20_000u64 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // To the end and back, then here and there, then on from there.
        let first = match question {
            0 => 2 * RUNS - 1,
            1 => 0,
            _ if question % 3 == 0 => near + 1,
            _ => (state >> 33) % (2 * RUNS),
        };
        near = first;
        let mut out = [Granule::Unknown; 3];
        lookup.granules(first, &mut out).unwrap();
        for (granule, found) in (first..).zip(out) {
            let expected = all.get(granule as usize).copied().unwrap_or(Granule::Zero);
            assert_eq!(found, expected, "granule {granule}");
        }
    }
}

#[test]
fn a_writer_refuses_what_is_out_of_order_or_out_of_the_disk_and_leaves_nothing() {
    let (root, repository) = repository();
    let mut writer = repository.create_manifest(&path("x"), 10 * GRANULE).unwrap();
    writer.record(4, &[Granule::Zero; 2]).unwrap();
    assert!(writer.record(5, &[Granule::Zero]).is_err());
    assert!(writer.record(9, &[Granule::Zero; 2]).is_err());
    assert!(writer.record(u64::MAX, &[Granule::Zero; 2]).is_err());
    assert!(repository.create_manifest(&path("x"), 1).is_err(), "one writer a file");
    let partial = root.path().join("vm/disk-0/x.b3.partial");
    assert!(partial.exists());
    drop(writer);
    assert!(!partial.exists());
}

#[test]
fn hostile_headers_are_refused() {
    let (root, repository) = repository();
    let layer = Layer { size: 4 * GRANULE, stored: [(0, 1), (1, 0), (3, 2)].into() };
    write(&repository, "x", &layer, &[1]);
    let file = root.path().join(path("x").as_str());
    let good = std::fs::read(&file).unwrap();
    let refuses = |what: &str, at: usize, patch: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + patch.len()].copy_from_slice(patch);
        std::fs::write(&file, &bytes).unwrap();
        let outcome = repository
            .open_manifest(&path("x"))
            .map(|manifest| manifest.runs().take(100).find_map(Result::err).map(|error| error.to_string()));
        match outcome {
            Err(error) => error.to_string(),
            Ok(Some(error)) => error,
            Ok(None) => panic!("{what} was taken"),
        }
    };
    for (what, at, patch) in [
        ("another magic", 0, &b"SNDB4"[..]),
        ("another granule size", 8, &[0, 0, 2, 0]),
        ("flags", 12, &[1]),
        ("an absurd disk", 16, &[0xff; 8]),
        ("a disk smaller than its runs", 16, &[0; 8]),
        ("a run of unknown kind", 24 + 12, &[9]),
        ("a run of nothing", 24 + 8, &[0]),
        ("a run longer than the file", 24 + 8, &[0xff; 4]),
        ("a run behind the end of the disk", 24, &[0xff; 8]),
        ("a wrong number of granules", good.len() - 48, &[1]),
        ("a huge number of granules", good.len() - 48, &[0xff; 8]),
    ] {
        let error = refuses(what, at, patch);
        assert!(error.contains("is damaged"), "{what}: {error}");
        assert!(error.contains("vm/disk-0/x.b3"), "{what}: {error}");
    }
    for length in 0..good.len() {
        std::fs::write(&file, &good[..length]).unwrap();
        assert!(repository.open_manifest(&path("x")).is_err(), "cut at {length}");
    }
}
