//! Pages on disk: found again whole or not at all, within a quota, by several at once.

use std::fs;

use lair_engine::{PageArchive, PrefixScope};

use super::*;

const PAGE_BYTES: usize = 1000;

fn archive(folder: &Path, quota_bytes: u64, weights: &str) -> ModelArchive {
    let file = folder.join(format!("{weights}.gguf"));
    if !file.exists() {
        fs::write(&file, weights).expect("written");
    }
    let cache = PromptCache::open(&folder.join("cache"), quota_bytes).expect("a folder that can be written");
    ModelArchive::new(Arc::new(cache), Origin::new([file.as_path()], &["f16"]).expect("a file"))
}

fn page(seed: usize) -> Vec<u8> {
    (0..PAGE_BYTES).map(|index| (index * 7 + seed * 31) as u8).collect()
}

/// Keys of a prompt of so many pages.
fn keys(archive: &ModelArchive, seed: u32, count: usize) -> Vec<PrefixKey> {
    let mut key = archive.root(PrefixScope::default());
    let step = |index: usize| {
        key = archive.extend(key, &[seed + index as u32; 16]);
        key
    };
    (0..count).map(step).collect()
}

fn keep_all(archive: &mut ModelArchive, keys: &[PrefixKey]) {
    for (index, &key) in keys.iter().enumerate() {
        archive.keep(key, index, &page(index));
    }
}

fn found(archive: &mut ModelArchive, keys: &[PrefixKey]) -> Vec<usize> {
    let mut bytes = vec![0; PAGE_BYTES];
    let mut is_found = |index: usize| {
        let is_found = archive.load(keys[index], index, &mut bytes);
        assert!(!is_found || bytes == page(index), "page {index} is not what was kept");
        is_found
    };
    (0..keys.len()).filter(|&index| is_found(index)).collect()
}

#[test]
fn pages_are_found_by_another_process_and_by_nobody_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut first = archive(folder.path(), 1 << 20, "one");
    let keys_of_one = keys(&first, 5, 6);
    keep_all(&mut first, &keys_of_one);
    drop(first);
    let mut second = archive(folder.path(), 1 << 20, "one");
    assert_eq!(keys(&second, 5, 6), keys_of_one);
    assert_eq!(found(&mut second, &keys_of_one), [0, 1, 2, 3, 4, 5]);
    assert!(keys_of_one.iter().all(|&key| second.contains(key, 0)));
    let others = keys(&second, 6, 6);
    assert!(found(&mut second, &others).is_empty());
    let other = archive(folder.path(), 1 << 20, "two");
    assert!(keys(&other, 5, 6).iter().all(|key| !keys_of_one.contains(key)));
    assert_ne!(second.root(PrefixScope([1; 32])), second.root(PrefixScope([2; 32])));
    // Of another size it is another model's, however it came here.
    assert!(!second.load(keys_of_one[0], 0, &mut [0; 10]));
}

#[test]
fn damaged_pages_are_not_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut kept = archive(folder.path(), 1 << 20, "one");
    let keys = keys(&kept, 5, 1);
    let path = page_file::path(&folder.path().join("cache"), keys[0]);
    let mut whole = Vec::new();
    let size_bytes = PAGE_BYTES + 84;
    for damage in 0..size_bytes + 40 {
        // Written anew each time: a damaged one is removed when it is found out.
        if whole.is_empty() {
            keep_all(&mut kept, &keys);
            kept.cache.finish();
            whole = fs::read(&path).expect("it is there");
            assert_eq!(whole.len(), size_bytes);
        }
        let mut bytes = whole.clone();
        match damage.checked_sub(size_bytes) {
            None => bytes[damage] ^= 1 << (damage % 8),
            Some(cut) if cut < 39 => bytes.truncate(cut * 28),
            Some(_) => bytes.push(0),
        }
        fs::write(&path, &bytes).expect("written");
        assert!(found(&mut kept, &keys).is_empty(), "damage {damage} is not noticed");
        assert!(!path.exists());
    }
    fs::write(&path, &whole).expect("written");
    assert_eq!(found(&mut kept, &keys), [0]);
}

#[test]
fn the_quota_is_kept_and_ends_of_prefixes_go_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let quota_bytes = 20 * (PAGE_BYTES as u64 + 84);
    let mut kept = archive(folder.path(), quota_bytes, "one");
    let old = keys(&kept, 5, 15);
    keep_all(&mut kept, &old);
    kept.cache.finish();
    let mut kept = archive(folder.path(), quota_bytes, "one");
    let new = keys(&kept, 500, 15);
    keep_all(&mut kept, &new);
    kept.cache.finish();
    let (old, new) = (found(&mut kept, &old), found(&mut kept, &new));
    assert!(old.len() + new.len() <= 20, "{old:?} {new:?}");
    assert!(old.len() + new.len() >= 15, "{old:?} {new:?}");
    // What is left of each is its beginning.
    for left in [&old, &new] {
        assert!(left.iter().copied().eq(0..left.len()), "{left:?}");
    }
    let mut quota = Quota::new(&folder.path().join("cache"), 0);
    quota.look();
    assert!(
        fs::read_dir(folder.path().join("cache"))
            .expect("a folder")
            .flatten()
            .all(|place| { fs::read_dir(place.path()).map_or(0, Iterator::count) == 0 })
    );
}

#[test]
fn several_write_the_same_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let _ = archive(folder.path(), 1 << 20, "one");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut kept = archive(folder.path(), 1 << 20, "one");
                let keys = keys(&kept, 5, 40);
                keep_all(&mut kept, &keys);
                found(&mut kept, &keys);
            });
        }
    });
    let mut kept = archive(folder.path(), 1 << 20, "one");
    let keys = keys(&kept, 5, 40);
    assert_eq!(found(&mut kept, &keys).len(), 40);
}

#[test]
#[cfg(unix)]
fn nobody_else_can_read_them() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let mut kept = archive(folder.path(), 1 << 20, "one");
    let keys = keys(&kept, 5, 2);
    keep_all(&mut kept, &keys);
    kept.cache.finish();
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    let path = page_file::path(&folder.path().join("cache"), keys[0]);
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().expect("a folder")), 0o700);
    assert_eq!(mode(&folder.path().join("cache")), 0o700);
}

/// A file that was changed in any way gives no page. `fuzz/README.md` lists all targets.
#[test]
fn fuzz_kept_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = PrefixKey([5; 32]);
    page_file::write(folder.path(), key, 0, &page(1)).expect("written");
    let path = page_file::path(folder.path(), key);
    let whole = fs::read(&path).expect("there");
    let target = lair_testkit::fuzz::Target::new("kept_page", [whole.clone()], &["LAIRPAGE"]);
    target.run(|bytes| {
        fs::write(&path, bytes).expect("written");
        let mut found = vec![0; PAGE_BYTES];
        let is_found = page_file::read(folder.path(), key, 0, &mut found);
        assert_eq!(is_found, bytes == whole);
        assert!(!is_found || found == page(1));
        format!("{is_found}, {}", path.exists())
    });
}
