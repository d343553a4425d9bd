//! All schemas that can be reached from one, each read once, and the resources that were gone through on the way to it.

use std::collections::HashMap;
use std::rc::Rc;

use serde_json::Value as Json;

use super::documents::{Documents, KnownDocuments, Place};
use super::node::{self, ANYTHING, Keywords, NodeId, Reference, Schemas};
use super::wrong;
use crate::grammar::limits::SCHEMA_NODES_MAX;
use crate::grammar::{GrammarError, GrammarKind};

/// Allows nothing.
pub(super) const NOTHING: NodeId = 1;

/// The resources with dynamic anchors that were gone through, as one of those that are known.
pub(super) type ScopeId = usize;

/// That a schema holds, or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Claim {
    pub(super) node: NodeId,
    pub(super) is_negated: bool,
    pub(super) scope: ScopeId,
}

impl Claim {
    /// Holds for everything.
    pub(super) const ALWAYS: Claim = Claim { node: ANYTHING, is_negated: false, scope: 0 };
    /// Holds for nothing.
    pub(super) const NEVER: Claim = Claim { node: NOTHING, is_negated: false, scope: 0 };

    /// The contrary.
    pub(super) fn negated(self) -> Claim {
        match self.node {
            ANYTHING => Claim { node: NOTHING, ..self },
            NOTHING => Claim { node: ANYTHING, ..self },
            _ => Claim { is_negated: !self.is_negated, ..self },
        }
    }
}

/// What a schema says.
#[derive(Clone)]
pub(super) enum Body {
    /// Anything is allowed.
    Anything,
    /// Nothing is.
    Nothing,
    /// One of these claims holds.
    AnyOf(Rc<[Claim]>),
    /// It has keywords.
    Keywords(Rc<Keywords>),
}

/// The schemas.
pub(super) struct Nodes<'s> {
    documents: Documents<'s>,
    ids: HashMap<Place, NodeId>,
    places: Vec<Option<Place>>,
    bodies: Vec<Option<Body>>,
    /// Of each schema, the resource it is in if that has dynamic anchors.
    resources: Vec<Option<Place>>,
    values: HashMap<String, NodeId>,
    unions: HashMap<Vec<Claim>, NodeId>,
    scopes: Vec<Vec<Place>>,
    /// Whether some keyword asks what others have evaluated.
    pub(super) asks_for_evaluated: bool,
}

impl<'s> Nodes<'s> {
    /// Reads all that can be reached from the root of a schema.
    pub(super) fn of(schema: &'s Json, known: &'s KnownDocuments) -> Result<(Nodes<'s>, NodeId), GrammarError> {
        let mut nodes = Nodes {
            documents: Documents::of(schema, known),
            ids: HashMap::new(),
            places: vec![None, None],
            bodies: vec![Some(Body::Anything), Some(Body::Nothing)],
            resources: vec![None, None],
            values: HashMap::new(),
            unions: HashMap::new(),
            scopes: vec![Vec::new()],
            asks_for_evaluated: false,
        };
        let root = nodes.at(Place { document: 0, pointer: "#".to_owned() });
        let mut next = root;
        while next < nodes.bodies.len() {
            nodes.body(next)?;
            next += 1;
        }
        Ok((nodes, root))
    }

    /// A claim about a schema that is reached by way of a scope.
    pub(super) fn claim(&mut self, node: NodeId, scope: ScopeId) -> Result<Claim, GrammarError> {
        self.body(node)?;
        // What does not depend on references is the same in every scope.
        let scope = match &self.resources[node] {
            Some(resource) if !self.scopes[scope].contains(resource) => {
                let mut gone = self.scopes[scope].clone();
                gone.push(resource.clone());
                self.scope_of(gone)
            }
            _ if node <= NOTHING => 0,
            _ => scope,
        };
        Ok(Claim { node, is_negated: false, scope })
    }

    fn scope_of(&mut self, gone: Vec<Place>) -> ScopeId {
        self.scopes.iter().position(|known| *known == gone).unwrap_or_else(|| {
            self.scopes.push(gone);
            self.scopes.len() - 1
        })
    }

    /// What a reference leads to in a scope.
    pub(super) fn follow(&mut self, reference: &Reference, scope: ScopeId) -> Result<Claim, GrammarError> {
        match reference {
            Reference::To(node) => self.claim(*node, scope),
            Reference::Dynamic(anchor, initial) => {
                let outermost = self.scopes[scope].iter().find_map(|gone| {
                    let mut anchors = self.documents.dynamic_anchors(anchor).iter();
                    anchors.find(|(resource, _)| resource == gone).map(|(_, place)| place.clone())
                });
                let node = outermost.map_or(*initial, |place| self.at(place));
                self.claim(node, scope)
            }
        }
    }

    /// A schema that is fulfilled where one of the claims holds.
    pub(super) fn any_of(&mut self, mut claims: Vec<Claim>) -> NodeId {
        claims.sort_unstable();
        claims.dedup();
        if let Some(&known) = self.unions.get(&claims) {
            return known;
        }
        let node = self.push(None, Some(Body::AnyOf(claims.clone().into())));
        self.unions.insert(claims, node);
        node
    }

    /// A schema that one value fulfils only.
    pub(super) fn value(&mut self, pointer: &str, value: &Json) -> NodeId {
        let key = value.to_string();
        if let Some(&known) = self.values.get(&key) {
            return known;
        }
        let keywords = node::keywords_of_value(pointer, value, |part| self.value(pointer, part));
        let node = self.push(None, Some(Body::Keywords(Rc::new(keywords))));
        self.values.insert(key, node);
        node
    }

    fn push(&mut self, place: Option<Place>, body: Option<Body>) -> NodeId {
        self.places.push(place);
        self.bodies.push(body);
        self.resources.push(None);
        self.bodies.len() - 1
    }

    /// What a schema says. It is read now if it was not yet.
    pub(super) fn body(&mut self, node: NodeId) -> Result<Body, GrammarError> {
        if let Some(body) = &self.bodies[node] {
            return Ok(body.clone());
        }
        if self.bodies.len() > SCHEMA_NODES_MAX {
            let (kind, what, found) = (GrammarKind::Schema, "schemas in it", self.bodies.len());
            return Err(GrammarError::TooLarge { kind, what, found, limit: SCHEMA_NODES_MAX });
        }
        let place = self.places[node].clone().unwrap_or(Place { document: 0, pointer: "#".to_owned() });
        let located = self.documents.locate(&place).map_err(|problem| GrammarError::Reference {
            pointer: place.pointer.clone(),
            reference: place.pointer.clone(),
            problem,
        })?;
        self.resources[node] = Some(located.resource.clone()).filter(|resource| self.documents.is_dynamic(resource));
        let body = match located.value {
            Json::Bool(true) => Body::Anything,
            Json::Bool(false) => Body::Nothing,
            Json::Object(map) => {
                let keywords = node::read(map, &located, self)?;
                self.asks_for_evaluated |=
                    keywords.unevaluated_items.is_some() || keywords.unevaluated_properties.is_some();
                Body::Keywords(Rc::new(keywords))
            }
            other => return Err(wrong(&place.pointer, other, "a schema: an object, true or false")),
        };
        self.bodies[node] = Some(body.clone());
        Ok(body)
    }
}

impl Schemas for Nodes<'_> {
    fn at(&mut self, place: Place) -> NodeId {
        if let Some(&known) = self.ids.get(&place) {
            return known;
        }
        let node = self.push(Some(place.clone()), None);
        self.ids.insert(place, node);
        node
    }

    fn refer(&mut self, reference: &str, base: &str) -> Result<(NodeId, Option<String>), &'static str> {
        let place = self.documents.resolve(reference, base)?;
        let located = self.documents.locate(&place)?;
        let fragment = reference.split_once('#').map_or("", |(_, fragment)| fragment);
        let anchor = located.value.get("$dynamicAnchor").and_then(Json::as_str).filter(|name| *name == fragment);
        let anchor = anchor.map(str::to_owned);
        Ok((self.at(place), anchor))
    }

    fn recur(&mut self, base: &str) -> Result<(NodeId, bool), &'static str> {
        let place = self.documents.resolve("#", base)?;
        let located = self.documents.locate(&place)?;
        let looks = located.value.get("$recursiveAnchor") == Some(&Json::Bool(true));
        Ok((self.at(place), looks))
    }
}
