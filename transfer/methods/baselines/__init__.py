"""What every transfer method has to beat: models of the target alone, and closed forms. None of them adapts."""
