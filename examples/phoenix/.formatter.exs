[
  inputs: ["mix.exs", "{config,lib,priv}/**/*.{ex,exs}"],
  locals_without_parens: [add: 3, field: 2, from: 2, get: 3, plug: 1, plug: 2, post: 3]
]
