"""What a gateway keeps of its ticks until every worker that must have them has made them safe."""
