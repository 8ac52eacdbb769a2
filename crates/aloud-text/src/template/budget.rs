//! A bound on the memory that a chat template makes.
//!
//! Fuel counts steps, but `{% set x = x + x %}` doubles memory in one step, so forty of them fill
//! any machine. The engine has no hook for operators; so every place in the source that makes a
//! value out of others (`+`, `~`, `*`, slices and literals) is wrapped in a call of [`CHARGE`],
//! and filters and methods charge by themselves. The sum over a whole render is bounded.

use minijinja::machinery::ast::{BinOpKind, CallArg, Expr, Stmt};
use minijinja::machinery::parse;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, Value};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The function that charges its argument and returns it.
pub(super) const CHARGE: &str = "__aloud_charge";

/// Values nested deeper than this are refused: printing them recurses.
const MAX_DEPTH: usize = 32;

/// The cost of a value beside its text.
const VALUE_BYTES: u64 = 24;

/// The bytes that one render may still make.
#[derive(Debug)]
pub(super) struct Budget {
    left: AtomicU64,
    exceeded: AtomicBool,
}

impl Budget {
    pub(super) fn new(bytes: u64) -> Self {
        Self { left: AtomicU64::new(bytes), exceeded: AtomicBool::new(false) }
    }

    pub(super) fn exceeded(&self) -> bool {
        self.exceeded.load(Ordering::Relaxed)
    }

    /// Takes `bytes` off.
    pub(super) fn take(&self, bytes: u64) -> Result<(), Error> {
        let left = self.left.load(Ordering::Relaxed);
        match left.checked_sub(bytes) {
            Some(left) => {
                self.left.store(left, Ordering::Relaxed);
                Ok(())
            }
            None => {
                self.exceeded.store(true, Ordering::Relaxed);
                Err(Error::new(ErrorKind::InvalidOperation, "template values are too large"))
            }
        }
    }

    /// Takes the size of a value off, children included.
    pub(super) fn charge(&self, value: Value) -> Result<Value, Error> {
        self.take_tree(&value, 0)?;
        Ok(value)
    }

    fn take_tree(&self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return self.take(u64::MAX);
        }
        if is_namespace(value) {
            let reason = "a namespace can be neither printed nor stored in another value";
            return Err(Error::new(ErrorKind::InvalidOperation, reason));
        }
        let len = value.len().unwrap_or(0) as u64;
        match value.kind() {
            ValueKind::String => self.take(VALUE_BYTES + value.as_str().map_or(0, str::len) as u64),
            ValueKind::Bytes => self.take(VALUE_BYTES + len),
            ValueKind::Seq | ValueKind::Iterable if value.len().is_some() => {
                self.take(VALUE_BYTES * (1 + len))?;
                let mut items = value.try_iter()?.checked();
                items.try_for_each(|item| self.take_tree(&item?, depth + 1))
            }
            ValueKind::Map => {
                self.take(VALUE_BYTES * (1 + 2 * len))?;
                value.try_iter()?.checked().try_for_each(|key| {
                    let key = key?;
                    self.take_tree(&key, depth + 1)?;
                    self.take_tree(&value.get_item(&key)?, depth + 1)
                })
            }
            _ => self.take(VALUE_BYTES),
        }
    }
}

/// The only values that can change, and so could come to contain themselves.
fn is_namespace(value: &Value) -> bool {
    let object = value.as_object();
    object.is_some_and(|object| object.type_name().ends_with("Namespace"))
}

/// A template with every value-making expression wrapped.
pub(super) struct Charged {
    pub(super) source: String,
    /// The longest text that one step can print.
    pub(super) longest_raw_bytes: u64,
}

/// Wraps every value-making expression of a template in [`CHARGE`].
pub(super) fn charged(source: &str, syntax: SyntaxConfig) -> Result<Charged, Error> {
    if source.contains(CHARGE) {
        let reason = format!("the name {CHARGE} is reserved");
        return Err(Error::new(ErrorKind::SyntaxError, reason));
    }
    let mut walk = Walk { source, wraps: Vec::new(), longest_raw_bytes: 0 };
    walk.stmt(&parse(source, "chat_template", syntax)?);
    Ok(Charged { source: walk.rewrite(), longest_raw_bytes: walk.longest_raw_bytes })
}

/// Collects the places to wrap: byte ranges of the source.
struct Walk<'s> {
    source: &'s str,
    wraps: Vec<(usize, usize)>,
    longest_raw_bytes: u64,
}

impl Walk<'_> {
    /// Inserts the calls. Ranges nest, so at one place outer calls open first and close last.
    /// The inner pair of parentheses keeps a bare `a, b` one argument.
    fn rewrite(&self) -> String {
        let source = self.source;
        let mut edits: Vec<(usize, bool, usize)> = Vec::new();
        for &(start, end) in &self.wraps {
            edits.push((start, true, source.len() - end));
            edits.push((end, false, source.len() - start));
        }
        edits.sort_unstable();
        let mut out = String::with_capacity(source.len() + 20 * edits.len());
        let mut done = 0;
        for (at, opens, _) in edits {
            out.push_str(&source[done..at]);
            out.push_str(if opens { "__aloud_charge((" } else { "))" });
            done = at;
        }
        out.push_str(&source[done..]);
        out
    }

    fn wrap(&mut self, expr: &Expr<'_>) {
        self.wraps.push((start(expr), end(expr)));
    }

    fn body(&mut self, body: &[Stmt<'_>]) {
        body.iter().for_each(|stmt| self.stmt(stmt));
    }

    fn exprs<'a, 'b: 'a>(&mut self, exprs: impl IntoIterator<Item = &'a Expr<'b>>) {
        exprs.into_iter().for_each(|expr| self.expr(expr));
    }

    fn args(&mut self, args: &[CallArg<'_>]) {
        for arg in args {
            match arg {
                CallArg::Pos(expr) | CallArg::Kwarg(_, expr) | CallArg::PosSplat(expr) | CallArg::KwargSplat(expr) => {
                    self.expr(expr)
                }
            }
        }
    }

    fn stmt(&mut self, stmt: &Stmt<'_>) {
        match stmt {
            Stmt::Template(node) => self.body(&node.children),
            Stmt::EmitExpr(node) => self.expr(&node.expr),
            Stmt::EmitRaw(node) => {
                self.longest_raw_bytes = self.longest_raw_bytes.max(node.raw.len() as u64);
            }
            Stmt::ForLoop(node) => {
                self.expr(&node.iter);
                self.exprs(&node.filter_expr);
                self.body(&node.body);
                self.body(&node.else_body);
            }
            Stmt::IfCond(node) => {
                self.expr(&node.expr);
                self.body(&node.true_body);
                self.body(&node.false_body);
            }
            Stmt::WithBlock(node) => {
                self.exprs(node.assignments.iter().map(|(_, expr)| expr));
                self.body(&node.body);
            }
            Stmt::Set(node) => self.set(&node.target, &node.expr),
            Stmt::SetBlock(node) => self.body(&node.body),
            Stmt::AutoEscape(node) => self.body(&node.body),
            Stmt::FilterBlock(node) => self.body(&node.body),
            Stmt::Block(node) => self.body(&node.body),
            Stmt::Macro(node) => {
                self.exprs(&node.defaults);
                self.body(&node.body);
            }
            Stmt::CallBlock(node) => {
                self.args(&node.call.args);
                self.body(&node.macro_decl.body);
            }
            Stmt::Do(node) => self.args(&node.call.args),
            // There is no other template to import, include or extend.
            Stmt::Import(_) | Stmt::FromImport(_) | Stmt::Extends(_) | Stmt::Include(_) => {}
            Stmt::Continue(_) | Stmt::Break(_) => {}
        }
    }

    /// What is stored in a namespace is wrapped too: it must not be a namespace. The parser's
    /// place of `a, b` in `{% set x = a, b %}` begins at `b`; it begins after `=`.
    fn set(&mut self, target: &Expr<'_>, expr: &Expr<'_>) {
        let in_namespace = !matches!(target, Expr::Var(_));
        let is_bare_tuple = match expr {
            Expr::Tuple(node) => node.items.first().is_some_and(|a| start(expr) >= end(a)),
            _ => false,
        };
        let rest = &self.source[end(target)..];
        if let Some(at) = rest.find('=').filter(|_| in_namespace || is_bare_tuple) {
            let tail = &self.source[end(expr)..];
            let closing = |c: char| c == ')' || c.is_whitespace();
            let closed = tail.len() - tail.trim_start_matches(closing).len();
            let range = (end(target) + at + 1, end(expr) + closed);
            self.wraps.push(range);
        }
        match expr {
            Expr::Tuple(node) if is_bare_tuple => self.exprs(&node.items),
            _ => self.expr(expr),
        }
    }

    fn expr(&mut self, expr: &Expr<'_>) {
        match expr {
            Expr::Var(_) => {}
            Expr::Const(node) => {
                let bytes = node.value.as_str().map_or(0, str::len) as u64;
                self.longest_raw_bytes = self.longest_raw_bytes.max(bytes);
            }
            Expr::Slice(node) => {
                self.wrap(expr);
                self.expr(&node.expr);
                self.exprs([&node.start, &node.stop, &node.step].into_iter().flatten());
            }
            Expr::UnaryOp(node) => self.expr(&node.expr),
            Expr::BinOp(node) => {
                if matches!(node.op, BinOpKind::Add | BinOpKind::Mul | BinOpKind::Concat) {
                    self.wrap(expr);
                }
                self.exprs([&node.left, &node.right]);
            }
            Expr::Compare(node) => {
                self.expr(&node.expr);
                self.exprs(node.ops.iter().map(|op| &op.expr));
            }
            Expr::IfExpr(node) => {
                self.exprs([&node.test_expr, &node.true_expr]);
                self.exprs(&node.false_expr);
            }
            Expr::Filter(node) => {
                self.exprs(&node.expr);
                self.args(&node.args);
            }
            Expr::Test(node) => {
                self.expr(&node.expr);
                self.args(&node.args);
            }
            Expr::GetAttr(node) => self.expr(&node.expr),
            Expr::GetItem(node) => self.exprs([&node.expr, &node.subscript_expr]),
            Expr::Call(node) => {
                self.expr(&node.expr);
                self.args(&node.args);
            }
            Expr::List(node) => {
                self.wrap(expr);
                self.exprs(&node.items);
            }
            Expr::Tuple(node) => {
                self.wrap(expr);
                self.exprs(&node.items);
            }
            Expr::Map(node) => {
                self.wrap(expr);
                self.exprs(node.keys.iter().chain(&node.values));
            }
        }
    }
}

fn end(expr: &Expr<'_>) -> usize {
    expr.span().end_offset as usize
}

/// Where an expression begins. In a chain such as `a.b(c)[1:]` the parser notes the beginning of
/// the link before; then the inner expression knows better. In `(a)[1:]` the outer one does.
fn start(expr: &Expr<'_>) -> usize {
    let own = expr.span().start_offset as usize;
    let inner = match expr {
        Expr::GetAttr(node) => &node.expr,
        Expr::GetItem(node) => &node.expr,
        Expr::Slice(node) => &node.expr,
        Expr::Call(node) => &node.expr,
        _ => return own,
    };
    own.min(start(inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(expr: &str) -> String {
        let source = format!("{{{{ {expr} }}}}");
        let charged = charged(&source, SyntaxConfig::default()).unwrap().source;
        let inner = charged.strip_prefix("{{ ").unwrap();
        let inner = inner.strip_suffix(" }}").unwrap();
        inner.replace(CHARGE, "C")
    }

    #[test]
    fn value_making_expressions_are_wrapped_whole() {
        for (source, expected) in [
            ("a + b", "C((a + b))"),
            ("a + b + c", "C((C((a + b)) + c))"),
            ("a + b ~ c", "C((a + C((b ~ c))))"),
            ("(a + b) * 2", "C(((C((a + b))) * 2))"),
            ("a.b(c)[1:].d", "C((a.b(c)[1:])).d"),
            ("(a)[:]", "C(((a)[:]))"),
            ("a['x'][:-1]|trim", "C((a['x'][:-1]))|trim"),
            ("[a, {'k': b}]", "C(([a, C(({'k': b}))]))"),
            ("(a, b)", "C(((a, b)))"),
            ("f(a + b, k=c ~ d)", "f(C((a + b)), k=C((c ~ d)))"),
            ("a - b == c", "a - b == c"),
            ("x if a + b else c", "x if C((a + b)) else c"),
        ] {
            assert_eq!(rewritten(source), expected);
        }
    }

    #[test]
    fn a_bare_tuple_stays_one_value() {
        let source = "{% set x, y = (a + b), c %}";
        let charged = charged(source, SyntaxConfig::default()).unwrap();
        assert_eq!(charged.source.replace(CHARGE, "C"), "{% set x, y =C(( (C((a + b))), c ))%}");
    }

    #[test]
    fn what_a_namespace_stores_is_wrapped() {
        let source = "{%- set ns.x = (a|trim) -%}{% set y = (a|trim) %}";
        let charged = charged(source, SyntaxConfig::default()).unwrap();
        assert_eq!(charged.source.replace(CHARGE, "C"), "{%- set ns.x =C(( (a|trim) ))-%}{% set y = (a|trim) %}");
    }

    #[test]
    fn the_budget_counts_shared_values_as_often_as_they_are_reached() {
        let mut value = Value::from("x");
        let budget = Budget::new(10_000);
        for _ in 0..6 {
            value = Value::from(vec![value.clone(), value]);
        }
        assert!(budget.charge(value.clone()).is_ok());
        assert!(!budget.exceeded());
        assert!(budget.charge(Value::from(vec![value.clone(), value])).is_err());
        assert!(budget.exceeded());
    }
}
