//! What a CEL rule costs at most on one object, told before it is evaluated: the evaluator cannot be stopped once it runs.
//!
//! The unit is upstream's: one for a name, a field, a call and each turn of a loop, a tenth for each byte that a call goes through.
//! Lists and maps of the object count with the length that they have; what a rule makes of them, with the most that it can come to.
//! That is an upper bound, since a loop may end early, so it is held against the budget of a request alone, not against the limit
//! for one rule (1,000,000), which upstream counts as it goes.
//!
//! Source: `apiextensions-apiserver/pkg/apiserver/schema/cel/validation.go`, `apiserver/pkg/apis/cel/config.go`,
//! `apiserver/pkg/cel/library/cost.go`.

use kube_cel::cel::IdedExpr;
use kube_cel::cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue};
use kube_cel::{CompilationResult, CompiledSchema};
use serde_json::Value;

/// `RuntimeCELCostBudget`.
const BUDGET: u64 = 10_000_000;

/// The rule that costs too much: where, on what, and which words upstream has for it.
pub(super) struct TooMuch {
    pub(super) path: String,
    pub(super) rule: String,
    /// One rule alone is above the budget, not the sum of several.
    pub(super) alone: bool,
}

/// The first rule, in the order of evaluation, with which the budget is gone.
pub(super) fn check(schema: &CompiledSchema, object: &Value, old: Option<&Value>) -> Result<(), TooMuch> {
    let mut left = BUDGET;
    walk(schema, object, old, "", &mut left)
}

fn walk(schema: &CompiledSchema, value: &Value, old: Option<&Value>, path: &str, left: &mut u64) -> Result<(), TooMuch> {
    for rule in schema.validations.iter().flatten() {
        let cost = of_rule(rule, value, old);
        match left.checked_sub(cost) {
            Some(less) => *left = less,
            None => return Err(TooMuch { path: path.to_owned(), rule: rule.rule.rule.clone(), alone: cost > BUDGET }),
        }
    }
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                let known = schema.properties.get(key);
                let other = schema.additional_properties.as_deref().filter(|_| !schema.preserve_unknown_fields);
                if let Some(schema) = known.or(other).filter(|schema| any_rule(schema)) {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    walk(schema, inner, old.and_then(|old| old.get(key)), &path, left)?;
                }
            }
        }
        Value::Array(list) => {
            for (at, inner) in list.iter().enumerate() {
                let Some(schema) = schema.items.as_deref().filter(|schema| any_rule(schema)) else { break };
                walk(schema, inner, old.and_then(|old| old.get(at)), &format!("{path}[{at}]"), left)?;
            }
        }
        _ => {}
    }
    schema.all_of.iter().chain(&schema.one_of).chain(&schema.any_of).try_for_each(|branch| walk(branch, value, old, path, left))
}

/// Whether it is worth going there.
fn any_rule(schema: &CompiledSchema) -> bool {
    !schema.validations.is_empty()
        || schema.properties.values().any(any_rule)
        || [&schema.items, &schema.additional_properties].into_iter().flatten().any(|inner| any_rule(inner))
        || [&schema.all_of, &schema.one_of, &schema.any_of].into_iter().flatten().any(any_rule)
}

fn of_rule(rule: &CompilationResult, value: &Value, old: Option<&Value>) -> u64 {
    if rule.is_transition_rule && old.is_none() && rule.rule.optional_old_self != Some(true) {
        return 0;
    }
    let mut names = vec![("self", Shape::Of(vec![value])), ("oldSelf", Shape::Of(old.into_iter().collect()))];
    let mut cost = estimate(rule.program.expression(), &mut names).1;
    if let Some(message) = &rule.message_program {
        cost = cost.saturating_add(estimate(message.expression(), &mut names).1);
    }
    cost
}

/// What an expression may yield.
#[derive(Clone)]
enum Shape<'a> {
    /// One of these.
    Of(Vec<&'a Value>),
    /// A list of at most so many.
    List(u64, Box<Shape<'a>>),
    /// A number no greater than this.
    Number(u64),
    /// Anything of at most so many bytes, elements among them.
    Made(u64),
}

const TRUTH: Shape = Shape::Made(1);

impl<'a> Shape<'a> {
    fn weight(&self) -> u64 {
        match self {
            Shape::Of(values) => values.iter().map(|value| weight(value)).max().unwrap_or(1),
            Shape::List(length, item) => length.saturating_mul(item.weight().max(1)),
            Shape::Number(_) => 1,
            Shape::Made(weight) => *weight,
        }
    }

    fn length(&self) -> u64 {
        match self {
            Shape::Of(values) => values.iter().map(|value| length(value)).max().unwrap_or(0),
            Shape::List(length, _) | Shape::Made(length) => *length,
            Shape::Number(_) => 1,
        }
    }

    /// What a loop over it meets: a map's keys.
    fn items(&self) -> Shape<'a> {
        match self {
            Shape::Of(values) if values.iter().any(|value| value.is_object()) => {
                let keys = values.iter().filter_map(|value| value.as_object()).flat_map(|map| map.keys());
                Shape::Made(keys.map(|key| key.len() as u64).max().unwrap_or(0))
            }
            Shape::List(_, item) => (**item).clone(),
            _ => self.children(),
        }
    }

    /// What an index may yield.
    fn children(&self) -> Shape<'a> {
        match self {
            Shape::Of(values) => Shape::Of(values.iter().flat_map(|value| children(value)).collect()),
            Shape::List(_, item) => (**item).clone(),
            other => other.clone(),
        }
    }

    fn field(&self, name: &str) -> Shape<'a> {
        match self {
            Shape::Of(values) => {
                let found: Vec<&Value> = values.iter().filter_map(|value| value.get(name)).collect();
                // Names that are no identifiers are written otherwise (`__dash__`).
                if found.is_empty() && name.contains("__") { self.children() } else { Shape::Of(found) }
            }
            other => other.children(),
        }
    }

    fn or(self, other: Shape<'a>) -> Shape<'a> {
        match (self, other) {
            (Shape::Of(mut values), Shape::Of(more)) => {
                values.extend(more);
                Shape::Of(values)
            }
            (Shape::List(length, item), Shape::List(other, more)) => Shape::List(length.max(other), Box::new(item.or(*more))),
            (Shape::Of(values), other) | (other, Shape::Of(values)) if values.is_empty() => other,
            (Shape::Number(one), Shape::Number(other)) => Shape::Number(one.max(other)),
            (one, other) => Shape::Made(one.weight().max(other.weight())),
        }
    }

    fn plus(self, other: Shape<'a>) -> Shape<'a> {
        let is_list = |shape: &Shape| match shape {
            Shape::Of(values) => values.iter().any(|value| value.is_array()),
            shape => matches!(shape, Shape::List(..)),
        };
        match (self, other) {
            (Shape::Number(one), Shape::Number(other)) => Shape::Number(one.saturating_add(other)),
            (one, other) if is_list(&one) || is_list(&other) => {
                Shape::List(one.length().saturating_add(other.length()), Box::new(one.items().or(other.items())))
            }
            (one, other) => Shape::Made(one.weight().saturating_add(other.weight())),
        }
    }

    /// The greatest number that it may be.
    fn number(&self) -> u64 {
        match self {
            Shape::Number(most) => *most,
            Shape::Of(values) => values.iter().map(|value| value.as_u64().unwrap_or(0)).max().unwrap_or(0),
            _ => u64::MAX,
        }
    }
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(list) => list.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => Vec::new(),
    }
}

fn length(value: &Value) -> u64 {
    let length = match value {
        Value::Array(list) => list.len(),
        Value::Object(map) => map.len(),
        Value::String(text) => text.len(),
        _ => 1,
    };
    length as u64
}

fn weight(value: &Value) -> u64 {
    match value {
        Value::Array(list) => list.iter().map(weight).sum::<u64>() + 1,
        Value::Object(map) => map.iter().map(|(key, value)| key.len() as u64 + weight(value)).sum::<u64>() + 1,
        Value::String(text) => text.len() as u64 + 1,
        _ => 1,
    }
}

type Names<'a, 'n> = Vec<(&'n str, Shape<'a>)>;

/// What an expression yields, and what it costs.
fn estimate<'a, 'n>(expr: &'n IdedExpr, names: &mut Names<'a, 'n>) -> (Shape<'a>, u64) {
    match &expr.expr {
        Expr::Ident(name) => {
            let known = names.iter().rev().find(|(known, _)| known == name);
            (known.map_or(Shape::Made(1), |(_, shape)| shape.clone()), 1)
        }
        Expr::Literal(literal) => (of_literal(literal), 0),
        Expr::Select(select) => {
            let (operand, cost) = estimate(&select.operand, names);
            let shape = if select.test { TRUTH } else { operand.field(&select.field) };
            (shape, cost.saturating_add(1))
        }
        Expr::List(list) => {
            let mut cost = 1u64;
            let mut item = Shape::Of(Vec::new());
            for element in &list.elements {
                let (shape, more) = estimate(element, names);
                item = item.or(shape);
                cost = cost.saturating_add(more);
            }
            (Shape::List(list.elements.len() as u64, Box::new(item)), cost)
        }
        Expr::Map(map) => of_entries(map.entries.iter().map(|entry| &entry.expr), names),
        Expr::Struct(structure) => of_entries(structure.entries.iter().map(|entry| &entry.expr), names),
        Expr::Comprehension(comprehension) => of_loop(comprehension, names),
        Expr::Call(call) => of_call(call, names),
        Expr::Unspecified => (Shape::Made(1), 0),
    }
}

fn of_literal<'a>(literal: &LiteralValue) -> Shape<'a> {
    match literal {
        LiteralValue::Int(number) => Shape::Number(u64::try_from(*number.inner()).unwrap_or(0)),
        LiteralValue::UInt(number) => Shape::Number(*number.inner()),
        LiteralValue::String(text) => Shape::Made(text.inner().len() as u64),
        LiteralValue::Bytes(bytes) => Shape::Made(bytes.inner().len() as u64),
        _ => TRUTH,
    }
}

fn of_entries<'a, 'n>(entries: impl Iterator<Item = &'n EntryExpr>, names: &mut Names<'a, 'n>) -> (Shape<'a>, u64) {
    let (mut weight, mut cost) = (1u64, 1u64);
    for entry in entries {
        let parts = match entry {
            EntryExpr::StructField(field) => vec![&field.value],
            EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
        };
        for part in parts {
            let (shape, more) = estimate(part, names);
            (weight, cost) = (weight.saturating_add(shape.weight()), cost.saturating_add(more));
        }
    }
    (Shape::Made(weight), cost)
}

fn of_loop<'a, 'n>(fold: &'n ComprehensionExpr, names: &mut Names<'a, 'n>) -> (Shape<'a>, u64) {
    let (range, ranging) = estimate(&fold.iter_range, names);
    let (start, starting) = estimate(&fold.accu_init, names);
    let (turns, item, before) = (range.length(), range.items(), names.len());
    let carried = item.weight() / 10;
    names.push((&fold.accu_var, start.clone()));
    if let Some(second) = &fold.iter_var2 {
        names.push((second, range.children()));
    }
    names.push((&fold.iter_var, item));
    let (step, stepping) = estimate(&fold.loop_step, names);
    let asking = estimate(&fold.loop_cond, names).1;
    let mut turn = stepping.saturating_add(asking).saturating_add(carried).saturating_add(1);
    let end = match (start, step) {
        // `map` and `filter` add to a list, which the evaluator copies in each turn.
        (Shape::List(..), Shape::List(each, item)) => {
            let grown = Shape::List(turns.saturating_mul(each), item);
            turn = turn.saturating_add(grown.weight().saturating_add(grown.length()) / 20);
            grown
        }
        (Shape::Number(_), _) => Shape::Number(turns),
        (Shape::List(..), step) => Shape::Made(turns.saturating_mul(step.weight())),
        (_, step) => step,
    };
    names.truncate(before);
    names.push((&fold.accu_var, end));
    let (result, resulting) = estimate(&fold.result, names);
    names.truncate(before);
    let cost = [starting, turns.saturating_mul(turn), resulting].into_iter().fold(ranging, u64::saturating_add);
    (result, cost)
}

/// `lists.range(…)` is written, and parsed, as a call on something of that name.
fn qualified(call: &CallExpr) -> String {
    match call.target.as_deref().map(|target| &target.expr) {
        Some(Expr::Ident(room)) if matches!(room.as_str(), "lists" | "sets" | "optional") => format!("{room}.{}", call.func_name),
        _ => call.func_name.clone(),
    }
}

fn of_call<'a, 'n>(call: &'n CallExpr, names: &mut Names<'a, 'n>) -> (Shape<'a>, u64) {
    let mut cost = 1u64;
    let mut parts = Vec::with_capacity(call.args.len() + 1);
    for part in call.target.iter().map(|target| &**target).chain(&call.args) {
        let (shape, more) = estimate(part, names);
        parts.push(shape);
        cost = cost.saturating_add(more);
    }
    let sum = parts.iter().map(Shape::weight).fold(0, u64::saturating_add);
    let product = parts.iter().map(|part| part.weight().max(1)).fold(1, u64::saturating_mul);
    let mut through = sum;
    let mut parts = parts.into_iter();
    let mut next = || parts.next().unwrap_or(TRUTH);
    let shape = match qualified(call).as_str() {
        "_&&_" | "_||_" | "!_" | "@not_strictly_false" | "__not_strictly_false__" | "_<_" | "_<=_" | "_>_" | "_>=_" => {
            through = 0;
            TRUTH
        }
        // The shorter side decides.
        "_==_" | "_!=_" => {
            through = next().weight().min(next().weight());
            TRUTH
        }
        "_?_:_" => {
            through = 0;
            next();
            next().or(next())
        }
        "_[_]" | "_[?_]" | "_?._" => {
            through = 0;
            let (value, index) = (next(), call.args.last());
            match index.map(|index| &index.expr) {
                Some(Expr::Literal(LiteralValue::String(name))) => value.field(name.inner()),
                _ => value.children(),
            }
        }
        "_+_" => next().plus(next()),
        "-_" | "_-_" | "_/_" | "_%_" => {
            through = 0;
            Shape::Number(next().number())
        }
        "_*_" => {
            through = 0;
            Shape::Number(next().number().saturating_mul(next().number()))
        }
        "size" => {
            through = 0;
            Shape::Number(next().length())
        }
        "lists.range" => {
            through = 0;
            let most = call.args.last().map_or(0, |argument| estimate(argument, names).0.number());
            cost = cost.saturating_add(most);
            Shape::List(most, Box::new(Shape::Number(most)))
        }
        "first" | "last" => next().items(),
        "sort" | "distinct" | "reverse" | "slice" | "value" | "dyn" => next(),
        "optional.of" | "optional.ofNonZeroValue" => {
            next();
            next()
        }
        "or" | "orValue" => {
            through = 0;
            next().or(next())
        }
        // Every byte may become a whole argument.
        "replace" | "join" | "format" => {
            through = product;
            Shape::Made(product)
        }
        // Lists are compared each with each.
        "sets.contains" | "sets.equivalent" | "sets.intersects" => {
            through = product;
            TRUTH
        }
        _ => Shape::Made(sum),
    };
    (shape, cost.saturating_add(through / 10))
}
