"""Networks and factorisations: parameters and a forward pass. No loss, no optimiser, no closed form."""
