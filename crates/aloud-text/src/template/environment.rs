//! What a chat template can call, all within a budget.

use super::budget::{Budget, CHARGE};
use super::python::{strftime, tojson};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State, Value, escape_formatter, filters, functions};
use minijinja_contrib::pycompat::unknown_method_callback;
use std::sync::{Arc, Mutex};

/// The bytes that an item of a list costs, at least.
const ITEM_BYTES: u64 = 24;

/// What a render leaves behind beside its text.
#[derive(Debug)]
pub(super) struct Trace {
    pub(super) budget: Budget,
    /// What `raise_exception` said.
    pub(super) refusal: Mutex<Option<String>>,
}

/// The syntax that `transformers` chooses for chat templates.
pub(super) fn syntax() -> SyntaxConfig {
    SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().expect("the delimiters are the default ones")
}

/// An environment as `transformers` sets it up for chat templates. It renders one template once.
pub(super) fn environment<'a>(trace: &Arc<Trace>, now: Option<i64>) -> Environment<'a> {
    let mut env = Environment::new();
    env.set_syntax(syntax());
    let shared = Arc::clone(trace);
    env.set_formatter(move |out, state, value| print(&shared.budget, out, state, value));
    let shared = Arc::clone(trace);
    env.set_unknown_method_callback(move |state, value, method, args| {
        precharge(&shared.budget, method, value, args)?;
        shared.budget.charge(unknown_method_callback(state, value, method, args)?)
    });
    add_filters(&mut env, trace);
    add_functions(&mut env, trace, now);
    env
}

/// Prints a value as Python would.
fn print(budget: &Budget, out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    let value = budget.charge(value.clone())?;
    match value.kind() {
        ValueKind::Undefined => Ok(()),
        ValueKind::None => out.write_str("None").map_err(Error::from),
        ValueKind::Bool if value.is_true() => out.write_str("True").map_err(Error::from),
        ValueKind::Bool => out.write_str("False").map_err(Error::from),
        _ => escape_formatter(out, state, &value),
    }
}

fn add_functions(env: &mut Environment<'_>, trace: &Arc<Trace>, now: Option<i64>) {
    let shared = Arc::clone(trace);
    env.add_function(CHARGE, move |value: Value| shared.budget.charge(value));
    let shared = Arc::clone(trace);
    env.add_function("raise_exception", move |reason: String| -> Result<Value, Error> {
        let error = Error::new(ErrorKind::InvalidOperation, reason.clone());
        if let Ok(mut refusal) = shared.refusal.lock() {
            *refusal = Some(reason);
        }
        Err(error)
    });
    env.add_function("strftime_now", move |format: &str| {
        let text = now.and_then(|now| strftime(format, now));
        text.ok_or_else(|| {
            let reason = format!("no time for strftime_now({format:?})");
            Error::new(ErrorKind::InvalidOperation, reason)
        })
    });
    env.remove_global("debug");
    for (name, function) in [
        ("range", Value::from_function(functions::range)),
        ("dict", Value::from_function(functions::dict)),
        ("namespace", Value::from_function(functions::namespace)),
    ] {
        let shared = Arc::clone(trace);
        env.add_function(name, move |state: &mut State, args: Rest<Value>, named: Kwargs| {
            let args = all_args(args, named);
            for arg in &args {
                shared.budget.charge(arg.clone())?;
            }
            function.call(state, &args)
        });
    }
}

/// The arguments as a call takes them: those with names are the last one.
fn all_args(args: Rest<Value>, named: Kwargs) -> Vec<Value> {
    let mut args = args.0;
    if named.args().next().is_some() {
        args.push(Value::from(named));
    }
    args
}

/// The filters that chat templates use, each charged for what it returns. The others of the
/// engine are removed: some return far more than they are given.
fn add_filters(env: &mut Environment<'_>, trace: &Arc<Trace>) {
    for name in ["format", "pprint", "batch", "slice", "sum", "urlencode", "groupby", "chain", "zip"] {
        env.remove_filter(name);
    }
    let filters = [
        ("lower", Value::from_function(filters::lower)),
        ("upper", Value::from_function(filters::upper)),
        ("title", Value::from_function(filters::title)),
        ("capitalize", Value::from_function(filters::capitalize)),
        ("replace", Value::from_function(filters::replace)),
        ("dictsort", Value::from_function(filters::dictsort)),
        ("items", Value::from_function(filters::items)),
        ("reverse", Value::from_function(filters::reverse)),
        ("trim", Value::from_function(filters::trim)),
        ("join", Value::from_function(filters::join)),
        ("split", Value::from_function(filters::split)),
        ("lines", Value::from_function(filters::lines)),
        ("sort", Value::from_function(filters::sort)),
        ("list", Value::from_function(filters::list)),
        ("string", Value::from_function(filters::string)),
        ("indent", Value::from_function(filters::indent)),
        ("select", Value::from_function(filters::select)),
        ("reject", Value::from_function(filters::reject)),
        ("selectattr", Value::from_function(filters::selectattr)),
        ("rejectattr", Value::from_function(filters::rejectattr)),
        ("map", Value::from_function(filters::map)),
        ("unique", Value::from_function(filters::unique)),
        ("safe", Value::from_function(filters::safe)),
        ("escape", Value::from_function(filters::escape)),
        ("e", Value::from_function(filters::escape)),
    ];
    for (name, filter) in filters {
        let shared = Arc::clone(trace);
        env.add_filter(name, move |state: &mut State, args: Rest<Value>, named: Kwargs| {
            let args = all_args(args, named);
            if let Some((value, rest)) = args.split_first() {
                precharge(&shared.budget, name, value, rest)?;
            }
            shared.budget.charge(filter.call(state, &args)?)
        });
    }
    let shared = Arc::clone(trace);
    env.add_filter("tojson", move |value: Value, kwargs: Kwargs| {
        let value = shared.budget.charge(value)?;
        shared.budget.charge(Value::from(tojson(&value, kwargs)?))
    });
}

/// Charges what a filter or method is about to make, where that can be far more than it is given.
fn precharge(budget: &Budget, name: &str, value: &Value, args: &[Value]) -> Result<(), Error> {
    let text = value.as_str();
    let arg = |at: usize| args.get(at).and_then(Value::as_str).unwrap_or("");
    let bytes = match (name, text) {
        ("replace", Some(text)) => text.matches(arg(0)).count() as u64 * arg(1).len() as u64,
        // The method joins its argument with the text, the filter the value with the argument.
        ("join", Some(text)) if !args.is_empty() && text.len() < 4096 => {
            let items = args[0].len().unwrap_or(0).max(text.len()) as u64;
            items * (text.len() + arg(0).len()) as u64
        }
        ("join", Some(text)) => {
            let items = args.first().and_then(Value::len).unwrap_or(0) as u64;
            (items + 1) * (text.len() as u64 + ITEM_BYTES) + text.len() as u64 * arg(0).len() as u64
        }
        ("join", None) => value.len().unwrap_or(0) as u64 * (arg(0).len() as u64 + ITEM_BYTES),
        ("indent", Some(text)) => {
            let width = args.first().and_then(Value::as_usize).unwrap_or(4) as u64;
            width.saturating_mul(1 + text.matches('\n').count() as u64)
        }
        ("split" | "splitlines" | "lines", Some(text)) => {
            let pieces = match arg(0) {
                "" => text.split_whitespace().count() + text.matches('\n').count(),
                separator => text.matches(separator).count(),
            };
            pieces as u64 * ITEM_BYTES
        }
        ("list" | "sort" | "unique" | "map" | "select" | "reject", Some(text)) => text.len() as u64 * ITEM_BYTES,
        ("format", _) => {
            let reason = "format is not available in chat templates";
            return Err(Error::new(ErrorKind::UnknownMethod, reason));
        }
        _ => 0,
    };
    budget.take(bytes)
}
