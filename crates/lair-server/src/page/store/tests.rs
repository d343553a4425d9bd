use serde_json::json;

use super::*;

fn store() -> (tempfile::TempDir, PageStore) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = PageStore::at(folder.path().join("deep/page.sqlite"));
    (folder, store)
}

fn message(id: &str, parent: Option<&str>, role: &str, content: &str) -> Message {
    let extra = json!({ "n": 1 }).as_object().expect("an object").clone();
    let parent_id = parent.map(str::to_owned);
    Message { id: id.into(), parent_id, role: role.into(), content: content.into(), extra, created_ms: now_ms() }
}

/// A question with two answers, the first of which was gone on from.
fn with_tree(store: &PageStore, profile: &str) {
    let titled = ConversationChange { title: Some("Über Bäume".into()), ..ConversationChange::default() };
    store
        .with(profile, |shelf| {
            shelf.add_conversation("c", &titled)?;
            shelf.add_message("c", &message("q", None, "user", "What is a Tree?"))?;
            shelf.add_message("c", &message("a1", Some("q"), "assistant", "A graph without cycles."))?;
            shelf.add_message("c", &message("q2", Some("a1"), "user", "100% sure?"))?;
            shelf.add_message("c", &message("a2", Some("q"), "assistant", "A plant."))
        })
        .expect("kept");
}

#[test]
fn a_tree_of_messages_survives_and_loses_what_follows_a_removed_one() {
    let (folder, store) = store();
    with_tree(&store, "");
    drop(store);
    let store = PageStore::at(folder.path().join("deep/page.sqlite"));
    let whole = store.with("", |shelf| shelf.conversation("c")).expect("there");
    let ids: Vec<&str> = whole.messages.iter().map(|message| message.id.as_str()).collect();
    assert_eq!((ids, whole.leaf_id.as_deref()), (vec!["q", "a1", "q2", "a2"], Some("a2")));
    assert_eq!(whole.messages[0].extra["n"], 1);
    store.with("", |shelf| shelf.remove_message("c", "a1")).expect("removed");
    let left = store.with("", |shelf| shelf.conversation("c")).expect("there");
    let ids: Vec<&str> = left.messages.iter().map(|message| message.id.as_str()).collect();
    assert_eq!((ids, left.leaf_id.as_deref()), (vec!["q", "a2"], Some("a2")), "another branch was shown");
    store.with("", |shelf| shelf.remove_message("c", "a2")).expect("removed");
    let left = store.with("", |shelf| shelf.conversation("c")).expect("there");
    assert_eq!(left.leaf_id.as_deref(), Some("q"), "the branch that was shown ends earlier");
}

#[test]
fn words_are_found_in_titles_and_messages_whatever_their_case() {
    let (_folder, store) = store();
    with_tree(&store, "");
    let found = |words: &str| store.with("", |shelf| shelf.conversations(words)).expect("listed");
    for words in ["", "ÜBER", "bäume", "tree?", "100%", "  Plant "] {
        assert_eq!(found(words).len(), 1, "{words}");
    }
    for words in ["Busch", "_", "10 %", "' OR 1"] {
        assert!(found(words).is_empty(), "{words}");
    }
    assert_eq!(found("cycles")[0].excerpt.as_deref(), Some("A graph without cycles."));
}

#[test]
fn what_belongs_to_another_is_not_there() {
    let (_folder, store) = store();
    with_tree(&store, "anna");
    let folder = Folder { id: "f".into(), name: "Work".into() };
    store.with("anna", |shelf| shelf.put_folder(&folder)).expect("kept");
    let bodies = json!({ "winner": "a" }).as_object().expect("an object").clone();
    store.with("anna", |shelf| shelf.put_note(NoteKind::Vote, "v", &bodies)).expect("kept");
    let as_other = |work: fn(&Shelf<'_>) -> Result<(), PageError>| store.with("bert", work);
    for work in [
        |shelf: &Shelf<'_>| shelf.conversation("c").map(drop),
        |shelf: &Shelf<'_>| shelf.change_conversation("c", &ConversationChange::default()),
        |shelf: &Shelf<'_>| shelf.remove_conversation("c"),
        |shelf: &Shelf<'_>| shelf.add_message("c", &message("x", None, "user", "")),
        |shelf: &Shelf<'_>| shelf.change_message("c", "q", &MessageChange::default()),
        |shelf: &Shelf<'_>| shelf.remove_message("c", "q"),
        |shelf: &Shelf<'_>| shelf.remove_folder("f"),
        |shelf: &Shelf<'_>| shelf.remove_note(NoteKind::Vote, "v"),
    ] {
        assert!(matches!(as_other(work), Err(PageError::Missing { .. })));
    }
    let empty =
        store.with("bert", |shelf| Ok((shelf.conversations("")?, shelf.folders()?, shelf.notes(NoteKind::Vote)?)));
    assert_eq!(empty.expect("read"), (vec![], vec![], vec![]));
    assert_eq!(store.with("anna", |shelf| shelf.notes(NoteKind::Vote)).expect("read").len(), 1);
}

#[test]
fn folders_hold_conversations_and_leave_them_behind() {
    let (_folder, store) = store();
    with_tree(&store, "");
    let into = |id: Option<&str>| {
        let folder_id = Some(id.map(str::to_owned));
        let change = ConversationChange { folder_id, ..ConversationChange::default() };
        store.with("", |shelf| shelf.change_conversation("c", &change))
    };
    assert!(matches!(into(Some("f")), Err(PageError::Missing { what: "folder", .. })));
    store.with("", |shelf| shelf.put_folder(&Folder { id: "f".into(), name: "Work".into() })).expect("made");
    into(Some("f")).expect("moved");
    store.with("", |shelf| shelf.put_folder(&Folder { id: "f".into(), name: "Play".into() })).expect("named anew");
    assert_eq!(store.with("", |shelf| shelf.folders()).expect("listed")[0].name, "Play");
    store.with("", |shelf| shelf.remove_folder("f")).expect("removed");
    assert_eq!(store.with("", |shelf| shelf.conversation("c")).expect("there").line.folder_id, None);
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let (_folder, store) = store();
    with_tree(&store, "");
    let refused = |message: Message| store.with("", |shelf| shelf.add_message("c", &message)).expect_err("refused");
    assert!(matches!(refused(message("q", None, "user", "")), PageError::Bad { field: "id", .. }), "taken");
    assert!(matches!(refused(message("../x", None, "user", "")), PageError::Bad { field: "id", .. }));
    assert!(matches!(refused(message("x", Some("none"), "user", "")), PageError::Missing { what: "message", .. }));
    assert!(matches!(refused(message("x", None, "boss", "")), PageError::Bad { field: "role", .. }));
    let whole = store.with("", |shelf| shelf.conversation("c")).expect("there");
    assert_eq!((whole.messages.len(), whole.leaf_id.as_deref()), (4, Some("a2")), "all or nothing");
}

#[cfg(unix)]
#[test]
fn only_its_owner_reads_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, store) = store();
    with_tree(&store, "");
    for entry in std::fs::read_dir(folder.path().join("deep")).expect("a folder") {
        let entry = entry.expect("a file");
        let mode = entry.metadata().expect("it is there").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?}", entry.path());
    }
}

#[test]
fn a_file_of_a_later_version_is_left_alone() {
    let (folder, store) = store();
    with_tree(&store, "");
    drop(store);
    let path = folder.path().join("deep/page.sqlite");
    let connection = rusqlite::Connection::open(&path).expect("a file");
    connection.pragma_update(None, "user_version", 99).expect("written");
    let error = PageStore::at(path).with("", |shelf| shelf.conversations("")).expect_err("refused");
    assert!(matches!(error, PageError::Version { found: 99, expected: 1 }), "{error}");
}
