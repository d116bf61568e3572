"""Proof or denial of skill: walk-forward folds, scores, paired tests, a verdict in words."""
