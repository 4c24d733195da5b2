"""AlpacaEval: 805 instructions on which a judge prefers one of two outputs."""
