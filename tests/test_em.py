import bayes_gmm as bg
import pytest
@pytest.mark.numpyro
def test_a():
    x=bg.datasets.load("faithful")
    m=bg.fit_em(x,2)
    m.standard_errors
    p=bg.fit_nuts(x,2,start=m,progress=False)
    print(bg.compare(m,p))
