//! Packed weights on disk: found again whole or not at all, within a quota, gone with their models.

use lair_compute::{WeightArchive, WeightBytes};
use lair_gguf::GgufFile;

use super::*;

/// A folder with a model's file of a few bytes, and a cache beside it.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        Place { folder: tempfile::tempdir().expect("a folder") }
    }

    fn cache_folder(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    fn cache(&self, size_bytes_max: u64) -> Arc<WeightCache> {
        Arc::new(WeightCache::open(&self.cache_folder(), size_bytes_max).expect("a folder that can be written"))
    }

    /// A model's file of its own for each name.
    fn model(&self, name: &str) -> GgufFile {
        let path = self.folder.path().join(format!("{name}.gguf"));
        if !path.exists() {
            let mut metadata = lair_gguf::Metadata::default();
            metadata.set("general.architecture", name);
            let writer = lair_gguf::GgufWriter::new(metadata).expect("a header");
            writer.write_file(&path, |_, _| Ok(())).expect("written");
        }
        GgufFile::open(&path).expect("a file")
    }

    fn weights(&self, cache: &Arc<WeightCache>, name: &str) -> ModelWeights {
        ModelWeights::of(cache, &self.model(name), None, 2).expect("its file can be told from others")
    }

    /// Keeps parts of these lengths, and waits until they are written.
    fn keep(&self, name: &str, lengths: &[usize]) {
        let cache = self.cache(1 << 30);
        let weights = self.weights(&cache, name);
        keep_parts(&weights, lengths);
        drop(weights);
        cache.finish();
    }

    /// The files of the cache.
    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.cache_folder()).expect("a folder");
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
        files.sort();
        files
    }

    /// Which of these parts are found as they were kept.
    fn found(&self, name: &str, lengths: &[usize]) -> usize {
        let cache = self.cache(1 << 30);
        let weights = self.weights(&cache, name);
        let is_found = |(index, &length): (usize, &usize)| {
            let found = weights.load(&format!("part {index}"));
            found.is_some_and(|bytes| {
                assert_eq!((*bytes).as_ref(), part(index, length));
                assert!((*bytes).as_ref().as_ptr().addr().is_multiple_of(64), "it begins a cache line");
                true
            })
        };
        lengths.iter().enumerate().filter(|part| is_found(*part)).count()
    }
}

fn part(index: usize, length: usize) -> Vec<u8> {
    (0..length).map(|place| (place * 7 + place / 251 + index * 31) as u8).collect()
}

fn keep_parts(weights: &ModelWeights, lengths: &[usize]) {
    for (index, &length) in lengths.iter().enumerate() {
        WeightArchive::keep(weights, &format!("part {index}"), Arc::new(part(index, length)) as WeightBytes);
    }
    weights.keep();
}

/// Several pieces with a checksum, parts across them, empty ones, and ends anywhere in a line.
const LENGTHS: [usize; 7] = [64, 0, 1, 5 << 20, 63, (4 << 20) + 17, 1000];

#[test]
fn parts_are_found_by_the_next_start_and_by_no_other_model() {
    let place = Place::new();
    assert_eq!(place.found("one", &LENGTHS), 0);
    place.keep("one", &LENGTHS);
    assert_eq!(place.found("one", &LENGTHS), LENGTHS.len());
    assert_eq!(place.found("two", &LENGTHS), 0);
    assert_eq!(place.files().len(), 1);

    // The same name with another file.
    fs::remove_file(place.folder.path().join("one.gguf")).expect("removed");
    fs::copy(place.model("two").path(), place.folder.path().join("one.gguf")).expect("copied");
    assert_eq!(place.found("one", &LENGTHS), 0);
}

#[test]
fn what_a_model_is_quantized_to_at_load_has_a_file_of_its_own() {
    let place = Place::new();
    place.keep("one", &LENGTHS);
    let cache = place.cache(1 << 30);
    let quantized = lair_convert::quantize::FileType::from_name("Q8_0").expect("a file type");
    let weights = ModelWeights::of(&cache, &place.model("one"), Some(quantized), 2).expect("an identity");
    assert!(weights.load("part 0").is_none());
}

#[test]
fn a_file_with_any_damage_is_not_used_and_removed() {
    let place = Place::new();
    let lengths = [64, 1, 5 << 20, 100];
    place.keep("one", &lengths);
    let path = place.files().remove(0);
    let whole = fs::read(&path).expect("read");
    // Every byte of header and table, some of all pieces, all checksums.
    let table_end = 64 + u64::from_le_bytes(whole[24..32].try_into().expect("8 bytes")) as usize;
    let pieces = (4 << 20) - 2..(4 << 20) + 2;
    let places = (0..table_end + 70).chain(pieces).chain([2 << 20, 5 << 20]).chain(whole.len() - 12..whole.len());
    for at in places {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(&path, damaged).expect("written");
        assert_eq!(place.found("one", &lengths), 0, "byte {at}");
        assert!(!path.exists(), "byte {at}: what is of no use is removed");
    }
    for length in [0, 1, 63, 64, table_end, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..length]).expect("written");
        assert_eq!(place.found("one", &lengths), 0, "cut to {length}");
    }
    fs::write(&path, [&whole[..], &[0]].concat()).expect("written");
    assert_eq!(place.found("one", &lengths), 0, "longer");
    fs::write(&path, &whole).expect("written");
    assert_eq!(place.found("one", &lengths), lengths.len());
}

#[test]
fn a_header_may_say_anything() {
    let place = Place::new();
    place.keep("one", &[64]);
    let path = place.files().remove(0);
    let whole = fs::read(&path).expect("read");
    for (at, number) in
        [(16, 0), (16, u64::MAX), (16, u64::MAX - 3), (24, u64::MAX), (24, u64::MAX - 100), (24, 1 << 40)]
    {
        let mut changed = whole.clone();
        changed[at..at + 8].copy_from_slice(&number.to_le_bytes());
        fs::write(&path, changed).expect("written");
        assert_eq!(weights_file::sources(&path).expect("it can be read"), None, "{number} at {at}");
        assert_eq!(place.found("one", &[64]), 0, "{number} at {at}");
    }
}

#[test]
fn a_table_that_names_parts_elsewhere_is_none() {
    // With checksums that are right: written by a program with a fault.
    let place = Place::new();
    for parts in [
        "[[\"part 0\",0,9999]]",
        "[[\"part 0\",18446744073709551615,1]]",
        "[[\"part 0\",-1,1]]",
        "[[1,0,1]]",
        "[0]",
        "7",
    ] {
        place.keep("one", &[64]);
        let path = place.files().remove(0);
        let whole = fs::read(&path).expect("read");
        let table = format!("{{\"sources\":[],\"parts\":{parts}}}").into_bytes();
        let mut changed = whole[..64].to_vec();
        changed.extend_from_slice(&table);
        changed.resize(changed.len().next_multiple_of(64) + 64, 0);
        let length = changed.len() as u64;
        changed[16..24].copy_from_slice(&length.to_le_bytes());
        changed[24..32].copy_from_slice(&(table.len() as u64).to_le_bytes());
        let checksum = crc32fast::hash(&changed);
        changed.extend_from_slice(&checksum.to_le_bytes());
        fs::write(&path, changed).expect("written");
        assert_eq!(place.found("one", &[64]), 0, "{parts}");
        assert!(!path.exists(), "{parts}");
    }
}

#[test]
fn parts_that_one_load_does_not_need_stay_for_another() {
    let place = Place::new();
    place.keep("one", &[64, 100]);
    let cache = place.cache(1 << 30);
    let weights = place.weights(&cache, "one");
    WeightArchive::keep(&weights, "part 2", Arc::new(part(2, 5)) as WeightBytes);
    weights.keep();
    drop(weights);
    cache.finish();
    assert_eq!(place.found("one", &[64, 100, 5]), 3);
}

#[test]
fn nothing_is_written_where_all_was_found() {
    let place = Place::new();
    place.keep("one", &LENGTHS);
    let written = || fs::metadata(&place.files()[0]).expect("a file");
    let cache = place.cache(1 << 30);
    let weights = place.weights(&cache, "one");
    #[cfg(unix)]
    let before = std::os::unix::fs::MetadataExt::ino(&written());
    assert!(weights.load("part 0").is_some());
    weights.keep();
    cache.finish();
    #[cfg(unix)]
    assert_eq!(std::os::unix::fs::MetadataExt::ino(&written()), before, "it is the same file");
    assert_eq!(written().len(), fs::read(&place.files()[0]).expect("read").len() as u64);
}

#[test]
fn a_file_that_is_removed_or_replaced_stays_with_who_uses_it_and_one_that_shrinks_is_told() {
    let place = Place::new();
    place.keep("one", &LENGTHS);
    let path = place.files().remove(0);
    let cache = place.cache(1 << 30);
    let weights = place.weights(&cache, "one");
    let bytes = weights.load("part 3").expect("found");
    fs::rename(&path, path.with_extension("old")).expect("moved");
    fs::write(&path, "something else").expect("written");
    assert!((*bytes).as_ref() == part(3, LENGTHS[3]));
    assert_eq!(weights.damage(), None);
    #[cfg(target_os = "linux")]
    {
        let file = fs::OpenOptions::new().write(true).open(path.with_extension("old")).expect("opened");
        file.set_len(1 << 20).expect("cut");
        assert!((*bytes).as_ref().last() == Some(&0), "zeros stand for what is gone");
        assert!(weights.damage().is_some_and(|cause| cause.contains(".weights")), "{:?}", weights.damage());
    }
}

#[test]
fn what_was_not_used_for_longest_goes_when_the_quota_is_full() {
    let place = Place::new();
    let age = |name: &str, seconds: u64| {
        place.keep(name, &[100_000]);
        let cache = place.cache(1 << 30);
        let path = ModelWeights::path(&cache, &place.model(name)).expect("kept");
        let file = fs::OpenOptions::new().append(true).open(path).expect("opened");
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).expect("set");
    };
    age("one", 300);
    age("two", 200);
    age("three", 100);
    // One is used, which makes it the newest.
    assert_eq!(place.found("one", &[100_000]), 1);
    let cache = place.cache(350_000);
    let weights = place.weights(&cache, "four");
    keep_parts(&weights, &[100_000]);
    cache.finish();
    let left = ["one", "two", "three", "four"].map(|name| place.found(name, &[100_000]));
    assert_eq!(left, [1, 0, 1, 1]);

    // More than the quota is not begun.
    let cache = place.cache(50_000);
    let weights = place.weights(&cache, "five");
    keep_parts(&weights, &[100_000]);
    cache.finish();
    assert_eq!(place.found("five", &[100_000]), 0);
    assert_eq!(place.files().len(), 3, "and nothing goes for it: {:?}", place.files());
}

#[test]
fn what_was_packed_of_a_model_that_is_gone_is_an_orphan() {
    let place = Place::new();
    place.keep("one", &[64]);
    place.keep("two", &[64]);
    let folder = place.cache_folder();
    assert!(WeightCache::remove_orphans(&folder, false).is_empty());
    fs::remove_file(place.folder.path().join("two.gguf")).expect("removed");
    fs::write(folder.join("zz.weights"), "not one of ours").expect("written");
    fs::write(folder.join("notes.txt"), "somebody else's").expect("written");
    assert_eq!(WeightCache::remove_orphans(&folder, true).len(), 2);
    assert_eq!(place.files().len(), 4);
    assert_eq!(WeightCache::remove_orphans(&folder, false).len(), 2);
    assert_eq!(place.files().len(), 2);
    assert_eq!(place.found("one", &[64]), 1);
    assert!(WeightCache::remove_orphans(&place.folder.path().join("nowhere"), false).is_empty());
}

#[test]
fn old_partial_files_go_and_new_ones_stay() {
    let place = Place::new();
    drop(place.cache(1 << 30));
    let (old, new) = (place.cache_folder().join("1-0.partial"), place.cache_folder().join("2-0.partial"));
    fs::write(&new, "being written").expect("written");
    fs::write(&old, "left").expect("written");
    let file = fs::OpenOptions::new().append(true).open(&old).expect("opened");
    file.set_modified(SystemTime::now() - 2 * PARTIAL_AGE_MAX).expect("set");
    place.keep("one", &[64]);
    assert!(new.exists() && !old.exists());
}

#[test]
fn several_that_keep_the_same_at_once_leave_one_whole_file() {
    let place = Place::new();
    let model = place.model("one");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let cache = place.cache(1 << 30);
                let weights = ModelWeights::of(&cache, &model, None, 1).expect("an identity");
                keep_parts(&weights, &LENGTHS);
            });
        }
    });
    assert_eq!(place.files().len(), 1, "{:?}", place.files());
    assert_eq!(place.found("one", &LENGTHS), LENGTHS.len());
}
