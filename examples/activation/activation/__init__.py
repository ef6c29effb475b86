"""From raw events to activation scores, to weights, to cohorts: the example of docs/activation.md."""
