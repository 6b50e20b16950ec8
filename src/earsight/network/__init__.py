"""Images → logits: any timm network, with its mel front end inside."""
