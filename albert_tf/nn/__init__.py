"""Building blocks of encoder and heads: config, activations, closed-form gradients."""
