"""Limits: what a document may ask for, measured before anything of it is executed.

Cost is an upper bound of field resolutions: `{ blobs(first: 50) { nodes { blobId objects { nodes { cost } } } } }`
costs 1 + 50 * (1 + 1 + 1 + 20 * (1 + 1)) — every list multiplies what stands inside of it by the rows it may have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    ValueNode,
    VariableNode,
)
from strawberry.extensions import SchemaExtension, ValidationCache

from graphql_api.errors import extensions_of
from graphql_api.read_model.paging import DEFAULT_PAGE, PAGE_MAX

COST_SHOWN_MAX = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of one document, and of subscriptions on one connection."""

    query_bytes: int = 10_000
    tokens: int = 2_000
    depth: int = 12
    introspection_depth: int = 16
    aliases: int = 20
    spreads: int = 50
    values: int = 2_000
    cost: int = 10_000
    cost_with_token: int = 50_000
    timeout_ms: int = 10_000
    mutation_timeout_ms: int = 30_000
    subscriptions: int = 20

    def cost_of(self, *, has_token: bool) -> int:
        """What one document of a caller may cost; with a token never less than without."""
        return max(self.cost, self.cost_with_token) if has_token else self.cost


DEFAULT_BOUNDS = Bounds()

# Lists without page arguments, and fields that cost more than their resolution.
LIST_SIZES: Mapping[str, int] = {
    "addresses": 2,
    "attributes": 4,
    "checks": 6,
    "conditions": 6,
    "diagnosis": 4,
    "moves": 50,
    "pendingCommissionRates": 4,
    "pendingStake": 4,
    "pendingWithdrawals": 4,
    "perNode": 20,
    "poolStakes": 50,
    "processes": 20,
    "shardMap": 50,
    "steps": 8,
    "stripes": 2,
    "tokens": 50,
}
ID_LISTS = frozenset({"blobIds", "ids"})  # arguments that name each row
MUTATION_WEIGHT = 100  # of each field of a mutation, beside its own
WEIGHTS: Mapping[str, int] = {
    "costThisEpoch": 100,
    "cluster": 100,
    "conditions": 5,
    "diagnosis": 5,
    "health": 5,
    "operation": 10,
    "phase": 5,
    "proof": 20,
    "rangeProof": 50,
    "simulateAssignment": 500,
    "sliver": 200,
    "slivers": 100,
    "stripes": 200,
    "storeInline": 1_000,
    "totalCount": 10,
    "usage": 100,
    "verifyBlob": 2_000,
    "verifyCertificate": 100,
    "worstDurability": 50,
}
CONNECTIONS = frozenset(
    {
        "auditEvents",
        "blobObjects",
        "blobs",
        "epochs",
        "events",
        "exchangeRates",
        "members",
        "objects",
        "operations",
        "reservations",
        "rewardHistory",
        "search",
        "shardMoves",
        "slivers",
        "stakes",
        "storageNodes",
    }
)


@dataclass(frozen=True, slots=True)
class Measured:
    """What a selection amounts to."""

    depth: int = 0
    aliases: int = 0
    spreads: int = 0
    cost: int = 0


class Measure:
    """Walks a document once; every fragment is measured once, however often it is spread."""

    def __init__(self, document: DocumentNode, variables: Mapping[str, Any]) -> None:
        self._variables = variables
        self._seen: dict[str, Measured] = {}
        self._fragments = {d.name.value: d for d in document.definitions if isinstance(d, FragmentDefinitionNode)}

    def of(self, selections: SelectionSetNode | None) -> Measured:
        """Depth, aliases, spreads and cost below a selection set."""
        depth = aliases = spreads = cost = 0
        names: set[str] = set()
        for node in selections.selections if selections else ():
            if isinstance(node, FieldNode):
                inner = self.of(node.selection_set)
                name = node.name.value
                # A repeated field makes validation quadratic: it counts as an alias.
                aliases += inner.aliases + (node.alias is not None or name in names)
                names.add(name)
                depth = max(depth, inner.depth + 1)
                spreads += inner.spreads
                cost += WEIGHTS.get(name, 1) + inner.cost * self._rows_of(node)
                continue
            if isinstance(node, FragmentSpreadNode):
                inner = self._of_fragment(node.name.value)
                spreads += 1
            else:
                inner = self.of(node.selection_set) if isinstance(node, InlineFragmentNode) else Measured()
            depth, aliases = max(depth, inner.depth), aliases + inner.aliases
            spreads, cost = spreads + inner.spreads, cost + inner.cost
        return Measured(depth, aliases, spreads, cost)

    def of_all_fragments(self) -> Measured:
        """The worst of all fragments: validation reads those too that nothing spreads."""
        found = [self._of_fragment(name) for name in self._fragments]
        return Measured(
            depth=max((m.depth for m in found), default=0),
            aliases=max((m.aliases for m in found), default=0),
            spreads=max((m.spreads for m in found), default=0),
        )

    def _of_fragment(self, name: str) -> Measured:
        if name not in self._seen:
            self._seen[name] = Measured()  # cycles and unknown fragments: validation refuses them
            definition = self._fragments.get(name)
            if definition is not None:
                self._seen[name] = self.of(definition.selection_set)
        return self._seen[name]

    def _rows_of(self, node: FieldNode) -> int:
        name = node.name.value
        for argument in node.arguments or ():
            if argument.name.value in ID_LISTS:
                return _clamp(self._length_of(argument.value))
            if argument.name.value in ("first", "last"):
                value = argument.value
                if isinstance(value, IntValueNode):
                    return _clamp(int(value.value))
                if isinstance(value, VariableNode):
                    given = self._variables.get(value.name.value, PAGE_MAX)
                    return _clamp(given) if isinstance(given, int) else DEFAULT_PAGE
        return DEFAULT_PAGE if name in CONNECTIONS else LIST_SIZES.get(name, 1)

    def _length_of(self, value: ValueNode) -> int:
        """How many items an argument lists."""
        if isinstance(value, VariableNode):
            given = self._variables.get(value.name.value)
            return len(given) if isinstance(given, list) else 1
        return len(value.values) if isinstance(value, ListValueNode) else 1


def _clamp(rows: int) -> int:
    return max(1, min(rows, 10 * PAGE_MAX))  # an oversized page is refused by its list, with a better message


def refusal(code: str, message: str, **details: Any) -> GraphQLError:
    """An error that is shown as it is."""
    return GraphQLError(message, extensions=extensions_of(code, **details))


def check_document(
    document: DocumentNode,
    operation_name: str | None,
    variables: Mapping[str, Any],
    bounds: Bounds,
    *,
    is_stream: bool = False,
    has_token: bool = False,
) -> tuple[int, GraphQLError | None]:
    """The cost of an operation, and why it is refused, if it is."""
    measure = Measure(document, variables)
    operations = [d for d in document.definitions if isinstance(d, OperationDefinitionNode)]
    fragments = measure.of_all_fragments()
    if operation_name is None and len(operations) > 1:
        return 0, refusal("INVALID_ARGUMENT", "say in operationName which of the operations is meant")
    chosen = [o for o in operations if operation_name is None or (o.name and o.name.value == operation_name)]
    cost = 0
    for operation in chosen or operations:
        if operation.operation is OperationType.SUBSCRIPTION and not is_stream:
            text = "subscribe over a WebSocket (graphql-transport-ws), or with Accept: text/event-stream"
            return cost, refusal("INVALID_ARGUMENT", text)
        found = measure.of(operation.selection_set)
        is_mutation = operation.operation is OperationType.MUTATION
        own_cost = found.cost + (MUTATION_WEIGHT * len(operation.selection_set.selections) if is_mutation else 0)
        introspects = all(
            isinstance(node, FieldNode) and node.name.value.startswith("__")
            for node in operation.selection_set.selections
        )
        depth_max = bounds.introspection_depth if introspects else bounds.depth
        cost, cost_max = max(cost, min(own_cost, COST_SHOWN_MAX)), bounds.cost_of(has_token=has_token)
        aliases, spreads = max(found.aliases, fragments.aliases), max(found.spreads, fragments.spreads)
        too_complex = "QUERY_TOO_COMPLEX"
        checks = (
            ("QUERY_TOO_DEEP", "is {0} levels deep, at most {1} are allowed", found.depth, depth_max),
            (too_complex, "has {0} aliases and repeated fields, at most {1} are allowed", aliases, bounds.aliases),
            (too_complex, "spreads {0} fragments, at most {1} are allowed", spreads, bounds.spreads),
            (too_complex, "has {0} definitions, at most {1} are allowed", len(document.definitions), bounds.spreads),
            (too_complex, "may cost {0}, at most {1} is allowed; ask for smaller pages", cost, cost_max),
        )
        for code, text, got, limit in checks:
            if got > limit:
                return cost, refusal(code, f"the query {text.format(got, limit)}", cost=cost, limit=limit)
    return cost, None


def check_variables(variables: Mapping[str, Any], bounds: Bounds) -> GraphQLError | None:
    """Why variables are refused, if they are: all values are coerced before a resolver can find them too many."""
    n_values, todo = 0, [iter(variables.values())]
    while todo:
        value = next(todo[-1], todo)
        if value is todo:
            todo.pop()
            continue
        n_values += 1
        if n_values > bounds.values:
            text = f"the variables hold more than {bounds.values} values; ask for fewer things at a time"
            return refusal("QUERY_TOO_COMPLEX", text, limit=bounds.values)
        if isinstance(value, dict | list):
            todo.append(iter(value.values() if isinstance(value, dict) else value))
    return None


class Limits(SchemaExtension):
    """Refuses a document before validation looks at it; errors must be set before the `yield`."""

    def on_validate(self) -> Iterator[None]:
        context = self.execution_context
        document = context.graphql_document
        if document is not None:
            asked = context.context
            asked.cost, error = check_document(
                document,
                context._provided_operation_name,  # `operation_name` takes the first one when none was named
                context.variables or {},
                asked.services.bounds,
                is_stream=asked.is_stream,
                has_token=asked.caller.token is not None,
            )
            error = error or check_variables(context.variables or {}, asked.services.bounds)
            asked.services.rates.charge(asked.caller.client, 1 if error else asked.cost)
            if error is not None:
                context.pre_execution_errors = [error]
        yield


class CachedValidation(ValidationCache):
    """The shipped cache overwrites errors that are there already; this one leaves them alone."""

    def on_validate(self) -> Iterator[None]:
        if self.execution_context.pre_execution_errors:
            yield
        else:
            yield from super().on_validate()
