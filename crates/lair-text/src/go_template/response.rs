//! Where the answer begins: templates that know no list of messages write one turn, with `{{ .Response }}` where the answer
//! stands. The last turn ends there, so that the model writes on.
//!
//! The cut is made in the syntax, not in the text, as Ollama does it: the first field `.Response` that stands in an action,
//! in the order of the source, and nothing behind it, not even in the blocks around it.

use std::collections::BTreeSet;

use super::syntax::{Command, List, Node, NodeKind, Operand, Pipeline, Program};

const RESPONSE: &str = "Response";

/// The fields and variables that a program names, in lower case.
pub(super) fn names(program: &Program) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    collect_list(&program.main, &mut names);
    program.definitions.values().for_each(|list| collect_list(list, &mut names));
    names
}

/// Adds `{{ .Response }}` at the end, for templates that have neither messages nor a response.
pub(super) fn add_response(program: &mut Program) {
    let line = program.main.last().map_or(1, |node| node.line);
    let operands = vec![Operand::Field(vec![RESPONSE.to_string()])];
    let commands = vec![Command { operands }];
    let pipeline = Pipeline { line, variables: Vec::new(), is_assignment: false, commands };
    program.main.push(Node { line, kind: NodeKind::Action(pipeline) });
}

/// The list up to the response.
pub(super) fn up_to_response(list: &List) -> List {
    cut_list(list, &mut false)
}

fn cut_list(list: &List, is_cut: &mut bool) -> List {
    let mut kept = List::new();
    for node in list {
        if *is_cut {
            break;
        }
        let kind = match &node.kind {
            NodeKind::Action(pipeline) => match cut_pipeline(pipeline, is_cut) {
                Some(pipeline) => NodeKind::Action(pipeline),
                None => continue,
            },
            NodeKind::Choice { sets_dot, branches, otherwise } => {
                let cut_branch = |(condition, body): &(Pipeline, List)| {
                    // What stands behind the cut is gone, but its condition decides still.
                    let body = if *is_cut { List::new() } else { cut_list(body, is_cut) };
                    (condition.clone(), body)
                };
                let branches = branches.iter().map(cut_branch).collect();
                let otherwise = otherwise.as_ref().filter(|_| !*is_cut).map(|list| cut_list(list, is_cut));
                NodeKind::Choice { sets_dot: *sets_dot, branches, otherwise }
            }
            NodeKind::Range { pipeline, body, otherwise } => {
                let body = cut_list(body, is_cut);
                let otherwise = otherwise.as_ref().filter(|_| !*is_cut).map(|list| cut_list(list, is_cut));
                NodeKind::Range { pipeline: pipeline.clone(), body, otherwise }
            }
            kind => kind.clone(),
        };
        kept.push(Node { line: node.line, kind });
    }
    kept
}

/// The pipeline up to the response, or nothing if a command of it has nothing left.
fn cut_pipeline(pipeline: &Pipeline, is_cut: &mut bool) -> Option<Pipeline> {
    let mut commands = Vec::new();
    for command in &pipeline.commands {
        let mut operands = Vec::new();
        for operand in &command.operands {
            if *is_cut {
                break;
            }
            operands.push(match operand {
                Operand::Pipeline(inner) => match cut_pipeline(inner, is_cut) {
                    Some(inner) => Operand::Pipeline(Box::new(inner)),
                    None => continue,
                },
                operand => operand.clone(),
            });
            if let Operand::Field(names) = operand {
                *is_cut |= names.iter().any(|name| name == RESPONSE);
            }
        }
        if operands.is_empty() {
            return None;
        }
        commands.push(Command { operands });
    }
    Some(Pipeline { commands, ..pipeline.clone() })
}

fn collect_list(list: &List, names: &mut BTreeSet<String>) {
    for node in list {
        match &node.kind {
            NodeKind::Text(_) | NodeKind::Break | NodeKind::Continue => {}
            NodeKind::Action(pipeline) => collect_pipeline(pipeline, names),
            NodeKind::Choice { branches, otherwise, .. } => {
                for (condition, body) in branches {
                    collect_pipeline(condition, names);
                    collect_list(body, names);
                }
                otherwise.iter().for_each(|list| collect_list(list, names));
            }
            NodeKind::Range { pipeline, body, otherwise } => {
                collect_pipeline(pipeline, names);
                collect_list(body, names);
                otherwise.iter().for_each(|list| collect_list(list, names));
            }
            NodeKind::Template { argument, .. } => {
                argument.iter().for_each(|pipeline| collect_pipeline(pipeline, names))
            }
        }
    }
}

fn collect_pipeline(pipeline: &Pipeline, names: &mut BTreeSet<String>) {
    for operand in pipeline.commands.iter().flat_map(|command| &command.operands) {
        collect_operand(operand, names);
    }
}

fn collect_operand(operand: &Operand, names: &mut BTreeSet<String>) {
    let fields: &[String] = match operand {
        Operand::Field(fields) => fields,
        Operand::Variable(_, fields) => fields,
        Operand::Pipeline(pipeline) => return collect_pipeline(pipeline, names),
        Operand::Chain(operand, fields) => {
            collect_operand(operand, names);
            fields
        }
        _ => return,
    };
    names.extend(fields.iter().map(|field| field.to_lowercase()));
}
