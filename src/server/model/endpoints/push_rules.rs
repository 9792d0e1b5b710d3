//! Push rules.

use ruma::{
    api::client::push::{
        delete_pushrule, get_pushrule, get_pushrule_actions, get_pushrule_enabled,
        get_pushrules_all, get_pushrules_global_scope, set_pushrule, set_pushrule_actions,
        set_pushrule_enabled,
    },
    push::{AnyPushRuleRef, RuleKind, Ruleset},
};
use serde_json::json;

use crate::server::model::{
    body::{LooseResponse, Plain},
    push_rules,
    refusal::{Refusal, Stop},
    route::{Context, Routes},
    step::Step,
};

/// Most rules of a user.
const MAX_RULES: usize = 500;

pub(super) fn add(routes: &mut Routes) {
    routes.add(all);
    routes.add(global);
    routes.add(one);
    routes.add(set);
    routes.add(remove);
    routes.add(is_enabled);
    routes.add(set_enabled);
    routes.add(actions);
    routes.add(set_actions);
}

/// Loose, because ruma leaves empty lists out.
fn all(
    step: &mut Step<'_>,
    context: &Context<'_>,
    _request: Plain<get_pushrules_all::v3::Request>,
) -> Result<LooseResponse, Stop> {
    let rules = push_rules::of(step, &context.caller()?.user)?;
    Ok(LooseResponse(json!({ "global": push_rules::to_value(&rules)? })))
}

/// Loose for the same reason.
fn global(
    step: &mut Step<'_>,
    context: &Context<'_>,
    _request: Plain<get_pushrules_global_scope::v3::Request>,
) -> Result<LooseResponse, Stop> {
    let rules = push_rules::of(step, &context.caller()?.user)?;
    Ok(LooseResponse(push_rules::to_value(&rules)?))
}

fn unknown() -> Refusal {
    Refusal::not_found("there is no such push rule")
}

fn find<'a>(rules: &'a Ruleset, kind: RuleKind, id: &str) -> Result<AnyPushRuleRef<'a>, Refusal> {
    rules.get(kind, id).ok_or_else(unknown)
}

fn one(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: get_pushrule::v3::Request,
) -> Result<get_pushrule::v3::Response, Stop> {
    let rules = push_rules::of(step, &context.caller()?.user)?;
    let rule = find(&rules, request.kind, &request.rule_id)?;
    Ok(get_pushrule::v3::Response::new(rule.into()))
}

fn set(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: set_pushrule::v3::Request,
) -> Result<set_pushrule::v3::Response, Stop> {
    let user = &context.caller()?.user;
    let mut rules = push_rules::of(step, user)?;
    rules
        .insert(request.rule, request.after.as_deref(), request.before.as_deref())
        .map_err(|error| Refusal::new(400, "M_UNKNOWN", error.to_string()))?;
    if MAX_RULES < rules.iter().count() {
        return Err(Refusal::too_many("push rules").into());
    }
    push_rules::put(step, user, &rules)?;
    Ok(set_pushrule::v3::Response::new())
}

fn remove(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: delete_pushrule::v3::Request,
) -> Result<delete_pushrule::v3::Response, Stop> {
    let user = &context.caller()?.user;
    let mut rules = push_rules::of(step, user)?;
    // A default rule is none that could be removed.
    rules.remove(request.kind, &request.rule_id).map_err(|_error| unknown())?;
    push_rules::put(step, user, &rules)?;
    Ok(delete_pushrule::v3::Response::new())
}

fn is_enabled(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: get_pushrule_enabled::v3::Request,
) -> Result<get_pushrule_enabled::v3::Response, Stop> {
    let rules = push_rules::of(step, &context.caller()?.user)?;
    let rule = find(&rules, request.kind, &request.rule_id)?;
    Ok(get_pushrule_enabled::v3::Response::new(rule.enabled()))
}

fn set_enabled(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: set_pushrule_enabled::v3::Request,
) -> Result<set_pushrule_enabled::v3::Response, Stop> {
    let user = &context.caller()?.user;
    let mut rules = push_rules::of(step, user)?;
    rules
        .set_enabled(request.kind, &request.rule_id, request.enabled)
        .map_err(|_absent| unknown())?;
    push_rules::put(step, user, &rules)?;
    Ok(set_pushrule_enabled::v3::Response::new())
}

fn actions(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: get_pushrule_actions::v3::Request,
) -> Result<get_pushrule_actions::v3::Response, Stop> {
    let rules = push_rules::of(step, &context.caller()?.user)?;
    let rule = find(&rules, request.kind, &request.rule_id)?;
    Ok(get_pushrule_actions::v3::Response::new(rule.actions().to_vec()))
}

fn set_actions(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: set_pushrule_actions::v3::Request,
) -> Result<set_pushrule_actions::v3::Response, Stop> {
    let user = &context.caller()?.user;
    let mut rules = push_rules::of(step, user)?;
    rules
        .set_actions(request.kind, &request.rule_id, request.actions)
        .map_err(|_absent| unknown())?;
    push_rules::put(step, user, &rules)?;
    Ok(set_pushrule_actions::v3::Response::new())
}
