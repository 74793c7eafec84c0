// As `bayes_prompting/torsos/linear.py`.
TORSOS.linear = weight => {
  const kernel = weight('dense/kernel'), bias = weight('dense/bias').values;
  return {
    empty: () => [],
    load: () => [],
    step: (state, x) => ({state, output: product(x, kernel, bias)}),
    memory: ({output}) => output,
    note: 'This network remembers nothing but the last token; drawn is its output.',
  };
};
